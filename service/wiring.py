"""From a checked config to the objects of a run. Nowhere else are configs turned into objects."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from archspace import NasBench201Space, SearchSpace, Shape, StagedSpace, StagedSpaceConfig
from child_models import Dataset, load_data
from envs import CostBounds
from evaluation import (
    ChoicesCosting,
    Costing,
    Evaluator,
    EvaluatorConfig,
    Ledger,
    Lesson,
    ModelCosting,
    ObjectiveBounds,
    RayEvaluator,
    Recipe,
    SharedResults,
    SharedResultsError,
    SharingEvaluator,
    TableCosting,
    TableEvaluator,
    TrainingEvaluator,
    make_objective,
)
from latency_models import (
    CostModel,
    Device,
    DeviceConfig,
    DeviceFile,
    MeasuredTable,
    profile_device,
)
from latency_models.device import cpu_name
from search import (
    RunDevice,
    RunParts,
    SpaceTable,
    impossible_limits,
    tabulate_choices,
    tabulate_space,
)
from service.deployment import SHARED_RESULTS, Deployment
from service.errors import ConflictError, UsageError
from service.fitted_checks import check_fitted, warn_of_fitted
from service.halving_checks import check_rungs
from service.latency_inputs import read_fitted_device
from service.model_checks import check_model_fits
from service.run_config import RunConfig
from service.run_folder import FITTED, RunFolder, installed_versions

_log = logging.getLogger(__name__)

CIFAR_SHAPE = Shape(3, 32, 32)
CIFAR_CLASSES = 10
PROFILE_SEED = 0

OnProgress = Callable[[str, float], None]
"""Called with what is being measured and the share done, 0-1."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched, and on what device: everything that exists before a child is trained.

    `dataset`, `device`, `device_file`, `cost_model` and `table` are None for runs over a table of measured results;
    `measured` is None for all others. `device_file` and `cost_model` are None, too, for a device fitted to a table.
    `lesson` is what children learn from beside the labels, if anything.
    """

    config: RunConfig
    space: SearchSpace
    costing: Costing
    dataset: Dataset | None = None
    device: RunDevice | None = None
    device_file: DeviceFile | None = None
    cost_model: CostModel | None = None
    table: SpaceTable | None = None
    measured: MeasuredTable | None = None
    lesson: Lesson | None = None

    @property
    def digests(self) -> dict[str, str | None]:
        """What must be the same when the run is resumed."""
        digests = {
            "space": self.space.digest,
            "data": self.dataset.digest if self.dataset else None,
        }
        return digests if self.lesson is None else {**digests, "teacher": self.lesson.key}


def load_dataset(config: RunConfig) -> Dataset:
    """The config's data."""
    assert config.data is not None, "checked by RunConfig"
    return load_data(config.data)


def make_space(config: RunConfig, dataset: Dataset | None) -> SearchSpace:
    """The config's space, fitted to the images and classes of `dataset`."""
    shape = dataset.input_shape if dataset else CIFAR_SHAPE
    classes = dataset.num_classes if dataset else CIFAR_CLASSES
    if isinstance(config.space, StagedSpaceConfig):
        return StagedSpace(config.space, input_shape=shape, num_classes=classes)
    return NasBench201Space(config.space, input_shape=shape, num_classes=classes)


def make_problem(
    config: RunConfig,
    device_path: Path | None,
    *,
    on_progress: OnProgress,
    save_to: Path | None = None,
) -> Problem:
    """Read data or table, make the space, read or measure the device.

    Args:
        config: checked.
        device_path: a device file, or a device fitted to a table, to use instead of measuring.
        on_progress: told how far the measuring is.
        save_to: where a new device file is kept.
    """
    if config.evaluator.kind == "table":
        return _table_problem(config)
    dataset = load_dataset(config)
    space = make_space(config, dataset)
    check_rungs(config, space, dataset)
    if device_path is not None and device_path.suffix == FITTED:
        return _fitted_problem(config, space, dataset, device_path)
    if device_path is not None and device_path.is_file():
        device_file = DeviceFile.load(device_path)
        _warn_of_differences(device_file, config.device)
    else:
        device_file = profile_device(
            space, config.device, config.profile, seed=PROFILE_SEED, on_progress=on_progress
        )
        if save_to is not None:
            device_file.save(save_to)
    cost_model = device_file.cost_model()
    costing = ModelCosting(cost_model)
    return Problem(
        config=config,
        space=space,
        costing=costing,
        dataset=dataset,
        lesson=make_lesson(config, dataset),
        device=RunDevice.profiled(device_file),
        device_file=device_file,
        cost_model=cost_model,
        table=tabulate_space(space, cost_model, costing),
    )


def _fitted_problem(
    config: RunConfig, space: SearchSpace, dataset: Dataset, device_path: Path
) -> Problem:
    fitted = read_fitted_device(device_path)
    check_fitted(fitted, space)
    warn_of_fitted(fitted, space, config.device)
    costing = ChoicesCosting(fitted.model)
    return Problem(
        config=config,
        space=space,
        costing=costing,
        dataset=dataset,
        lesson=make_lesson(config, dataset),
        device=RunDevice.fitted(fitted),
        table=tabulate_choices(space, costing),
    )


def _warn_of_differences(device_file: DeviceFile, config: DeviceConfig) -> None:
    """Say where a device file is of something else than what the config asks for here."""
    device = device_file.device
    if not device_file.imported:
        for difference in device.differences(Device.here(config)):
            _log.warning("the device file is not of this machine as it is now: %s", difference)
        return
    _log.warning(
        "the device file was imported: nothing can be measured on %s from here. Latencies are predicted, and limits are "
        "checked on predictions",
        device.name,
    )
    if device.batch_size != config.batch_size:
        _log.warning(
            "the imported figures are of calls with batch size %d; device.batch_size %d does not count",
            device.batch_size,
            config.batch_size,
        )


def _table_problem(config: RunConfig) -> Problem:
    evaluator = config.evaluator
    assert evaluator.table is not None, "checked by EvaluatorConfig"
    columns = [
        column
        for column in (
            evaluator.accuracy_column,
            evaluator.latency_column,
            evaluator.energy_column,
        )
        if column
    ]
    measured = MeasuredTable.read(
        evaluator.table, columns=columns, label_column=evaluator.label_column
    )
    if evaluator.latency_column is None or evaluator.energy_column is None:
        raise UsageError(
            "evaluator.latency_column and evaluator.energy_column are needed: a search over a table takes "
            "its costs from there"
        )
    costing = TableCosting(measured, evaluator.latency_column, evaluator.energy_column)
    return Problem(
        config=config, space=make_space(config, None), costing=costing, measured=measured
    )


def check_targets(problem: Problem) -> None:
    """Refuse limits that no network of the space can meet. Raises UsageError."""
    faults = impossible_limits(problem.table, problem.config.limits) if problem.table else []
    if faults:
        raise UsageError("the space cannot meet this target:\n  " + "\n  ".join(faults))


def objective_bounds(problem: Problem) -> ObjectiveBounds:
    """Range of the costs, to scale them: of the space's networks, or of the table's available rows."""
    if problem.measured is not None:
        evaluator = problem.config.evaluator
        assert evaluator.latency_column
        assert evaluator.energy_column
        latency = problem.measured.range_of(evaluator.latency_column)
        energy = problem.measured.range_of(evaluator.energy_column)
        return ObjectiveBounds(
            latency_min_ms=latency[0],
            latency_max_ms=latency[1],
            energy_min_mj=energy[0],
            energy_max_mj=energy[1],
        )
    table = problem.table
    assert table is not None
    return ObjectiveBounds(
        latency_min_ms=table.smallest.costs.latency_worst_ms.value,
        latency_max_ms=table.largest.costs.latency_worst_ms.value,
        energy_min_mj=table.least["energy_mj"],
        energy_max_mj=table.most_energy_mj,
    )


def freeze(problem: Problem, earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was derived once and must not change: digests and the objective's bounds.

    Raises:
        ConflictError: the data or the space are not what they were when the run began.
    """
    if earlier is None:
        return {**problem.digests, "bounds": asdict(objective_bounds(problem))}
    for name, digest in problem.digests.items():
        if earlier.get(name) != digest:
            raise ConflictError(
                f"the {name} of this run changed since it began ({earlier.get(name)}, now {digest}); "
                "restore it, or start a new run"
            )
    return dict(earlier)


def make_evaluator(problem: Problem, cache_dir: Path) -> Evaluator:
    """What gives the children their accuracy.

    Args:
        cache_dir: where a teacher's answers are kept.

    Raises:
        UsageError: `SHARED_RESULTS` is no usable URL.
    """
    config = problem.config
    if problem.measured is not None:
        assert config.evaluator.accuracy_column is not None
        return TableEvaluator(
            problem.measured,
            config.evaluator.accuracy_column,
            unit=config.evaluator.accuracy_unit,
        )
    assert problem.dataset is not None
    recipe = Recipe(
        lesson=problem.lesson and replace(problem.lesson, cache_dir=cache_dir),
        quantisation=config.quantisation if config.decides_bits else None,
    )
    here = Deployment.here()
    if config.evaluator.kind == "local":
        plain = TrainingEvaluator(problem.dataset, config.training, config.evaluator, recipe)
        return sharing(plain, here)
    settings = placed(config.evaluator, here)
    return sharing(RayEvaluator(problem.dataset, config.training, settings, recipe), here)


def placed(config: EvaluatorConfig, deployment: Deployment) -> EvaluatorConfig:
    """`config` with the cluster and the number of workers that the place decides; results do not depend on these."""
    return config.model_copy(
        update={
            "address": deployment.ray_address or config.address,
            "workers": deployment.workers(config.workers),
        }
    )


def sharing(evaluator: Evaluator, deployment: Deployment) -> Evaluator:
    """`evaluator`, which trains, with the results that jobs share, where there are such."""
    if deployment.shared_results is None:
        return evaluator
    try:
        shared = SharedResults(deployment.shared_results)
    except (ValueError, SharedResultsError) as error:
        raise UsageError(f"{SHARED_RESULTS}: {error}") from error
    made_with = json.dumps([installed_versions(), cpu_name()])
    origin = hashlib.sha256(made_with.encode()).hexdigest()[:16]
    return SharingEvaluator(evaluator, shared, origin=origin)


def make_lesson(config: RunConfig, dataset: Dataset) -> Lesson | None:
    """The config's teacher, read and checked against the data; None where there is none. Raises UsageError."""
    if config.teaching is None:
        return None
    from compress import ModelNotReadable, read_model

    path = Path(config.teaching.teacher)
    try:
        teacher = read_model(path)
    except ModelNotReadable as error:
        raise UsageError(f"teaching.teacher: {error}") from error
    check_model_fits(teacher, dataset, path)
    return Lesson(teacher=teacher.model, config=config.teaching.distillation)


@contextmanager
def open_parts(
    folder: RunFolder, problem: Problem, seed: int, frozen: Mapping[str, Any]
) -> Iterator[RunParts]:
    """Everything `run_search` needs; closed at the end."""
    config = problem.config
    mirror = config.mirror.enabled
    with (
        Ledger(folder.ledger_url, scope=folder.ledger_scope) as ledger,
        make_evaluator(problem, folder.teacher.absolute()) as evaluator,
    ):
        yield RunParts(
            name=config.name,
            run_dir=folder.path,
            seed=seed,
            space=problem.space,
            evaluator=evaluator,
            ledger=ledger,
            costing=problem.costing,
            objective=make_objective(config.objective, ObjectiveBounds(**frozen["bounds"])),
            limits=config.limits,
            bounds=CostBounds(problem.space, problem.cost_model, config.limits),
            search=config.search,
            schedule=config.schedule,
            training_seed=config.training.seed,
            accuracy_floor=getattr(config.objective, "accuracy_floor", 0.0),
            dataset=problem.dataset,
            device=problem.device,
            device_file=problem.device_file,
            mirror_dir=folder.path.parent if mirror else None,
            objective_text=_objective_text(config, frozen["bounds"]),
            config_text=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        )


def _objective_text(config: RunConfig, bounds: Mapping[str, float]) -> str:
    """ "minmax: accuracy_weight 0.6, …", for people; rewards compare only where all of it is equal."""
    settings = config.objective.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    parts = [f"{name} {value}" for name, value in settings.items()]
    if config.objective.kind != "mnasnet":
        parts += [f"{name} {value:.4g}" for name, value in bounds.items()]
    return f"{config.objective.kind}: " + ", ".join(parts)


def device_line(device: RunDevice) -> str:
    """How well the device's cost model predicts, in one line."""
    quality = device.quality
    line = (
        f"{device.name}: cost model on {quality.judged_on}: Spearman {quality.spearman:.3f}, "
        f"MAPE {100 * quality.mape:.1f} %, {100 * quality.within_10:.0f} % within ±10 %"
    )
    if (
        quality.noise_spearman is not None
        and quality.noise_mape is not None
        and quality.noise_within_10 is not None
    ):
        line += (
            f" (measured twice: {quality.noise_spearman:.3f}, {100 * quality.noise_mape:.1f} %, "
            f"{100 * quality.noise_within_10:.0f} %)"
        )
    return f"{line}; energy {quality.energy_source}"
