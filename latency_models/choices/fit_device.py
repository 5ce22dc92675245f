"""Learning a device from a table, and which of its architectures to measure for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from archspace import SearchSpace
from latency_models.calibration import TWO_SIDED_90
from latency_models.choices.design import choose_architectures
from latency_models.choices.encoding import Choices, Floats
from latency_models.choices.fitted_device import NUMBERS, FittedDevice, FittedHeader, Unit
from latency_models.choices.known_devices import KnownDevice, known_device_weights
from latency_models.choices.model import ChoiceModel, fit_choice_model
from latency_models.choices.references import reference_weights
from latency_models.choices.table import ChoiceTable
from latency_models.quality import fit_quality

_POOL_SIZE = 4000
_DRAWN = 2000
_TRIES = 4


def fit_device(
    space: SearchSpace,
    table: ChoiceTable,
    device: str,
    *,
    unit: Unit,
    references: Sequence[str] = (),
    known_devices: Mapping[str, KnownDevice] | None = None,
    seed: int = 0,
) -> FittedDevice:
    """Learn a column of a table from all of its measured rows.

    Args:
        space, table: architectures and their costs.
        device: the column to learn.
        unit: of its numbers.
        references: columns of other devices that help; their rows need not be those of `device`.
        known_devices: devices learnt before that help, by name.
        seed: draws the architectures that say what is usual in the space.

    Raises:
        TableError: too few measured architectures, or all cost the same.
        DeviceFileError: a known device does not know this space.
    """
    rng = np.random.default_rng(seed)
    pool = table.choices[rng.permutation(len(table.choices))[:_POOL_SIZE]]
    if len(pool) < _DRAWN:  # ten rows do not say what is usual in a space
        pool = np.concatenate([pool, draw_choices(space, _DRAWN - len(pool), rng)])
    costs = table.columns[device]
    known = np.isfinite(costs)
    weights: list[Floats] = []
    if references:
        columns = [table.columns[name] for name in references]
        weights.append(reference_weights(space, table.choices, columns, pool=pool))
    if known_devices:
        weights.append(known_device_weights(space, known_devices, pool))
    choices, measured = table.choices[known], costs[known]
    model = fit_choice_model(
        space,
        choices,
        measured,
        pool=pool,
        references=np.concatenate(weights, axis=1) if weights else None,
    )
    header = FittedHeader(
        device=device,
        unit=unit,
        space=space.to_dict(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        netlathe=version("netlathe"),
        num_measured=len(measured),
        references=(*references, *(known_devices or ())),
        left_out=fit_quality(model.left_out.tolist(), measured.tolist()),
        coverage_90=_coverage(model, choices, measured),
        others={name: getattr(model, name) for name in NUMBERS},
    )
    return FittedDevice(header, space, model)


def choose_to_measure(
    space: SearchSpace,
    count: int,
    *,
    known_devices: Mapping[str, KnownDevice] | None = None,
    seed: int = 0,
) -> Choices:
    """(count, decisions) architectures whose measurements teach most about a new device; any beginning is a good choice.

    Args:
        space: whose architectures these are.
        count: how many; fewer come where the space has fewer.
        known_devices: devices learnt before that will help to learn the new one.
        seed: draws the architectures to choose from.

    Raises:
        DeviceFileError: a known device does not know this space.
    """
    rng = np.random.default_rng(seed)
    pool = draw_choices(space, max(_DRAWN, 2 * count), rng)
    weights = known_device_weights(space, known_devices, pool) if known_devices else None
    chosen = choose_architectures(space, pool, min(count, len(pool)), rng, references=weights)
    return np.asarray(pool[chosen])


def draw_choices(space: SearchSpace, count: int, rng: np.random.Generator) -> Choices:
    """(at most count, decisions) choices as `space.sample` draws them, of different networks."""
    found: dict[str, tuple[int, ...]] = {}
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        choices = space.sample(rng)
        found.setdefault(space.architecture(choices).digest, choices)
    return np.array(list(found.values()), dtype=np.intp)


def _coverage(model: ChoiceModel, choices: Choices, measured: Floats) -> float:
    _, std = model.predict_with_std(choices)
    return float((np.abs(model.left_out - measured) <= TWO_SIDED_90 * std).mean())
