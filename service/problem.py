"""From a checked config to what is searched, and on what device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archspace import SearchSpace
from child_models import Dataset
from evaluation import ChoicesCosting, Costing, Lesson, ModelCosting, ObjectiveBounds, TableCosting
from latency_models import (
    CostModel,
    Device,
    DeviceConfig,
    DeviceFile,
    MeasuredTable,
    profile_device,
)
from search import RunDevice, SpaceTable, impossible_limits, tabulate_choices, tabulate_space
from service.data_and_space import load_dataset, make_space
from service.errors import ConflictError, UsageError
from service.fitted_checks import check_fitted, warn_of_fitted
from service.halving_checks import check_rungs
from service.latency_inputs import read_fitted_device
from service.model_checks import check_model_fits
from service.run_config import RunConfig
from service.run_folder import FITTED

_log = logging.getLogger(__name__)

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
