"""One cell of `profiling.py`: a space on one runtime, profiled with several budgets, judged on the same networks.

Order of measuring: the profiles, one after the other; the test networks; the alternatives' training networks; the
test networks again, in another order. So the noise between the two includes the machine's drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from profiling_alternatives import (
    Draw,
    Predicted,
    Training,
    draw_distinct,
    lookup_ms,
    measure_training,
    predict_by_choices,
    predict_by_mlp,
    predict_by_size,
)
from profiling_records import Cell, Plan, Row, judge

from archspace import SearchSpace
from latency_models import (
    DeviceFile,
    LatencyModelError,
    ProfileConfig,
    profile_device,
)
from latency_models.sampling import profile_networks

PROFILE_SEED, TEST_SEED, TRAINING_SEED, POOL_SEED = range(4)

OnProgress = Callable[[str], None]
"""Called with what is being measured."""
T = TypeVar("T")


def draw_test(space: SearchSpace, profiles: Sequence[ProfileConfig], count: int) -> list[Draw]:
    """Networks that no profile of `space` with these settings measures whole.

    What a profile may measure is the beginning of one stream of draws, as long as its time allows, and the space's
    extremes. Here the longest stream is drawn to its end, and what it holds is left out.

    Raises:
        ValueError: the space has fewer than `count` further networks.
    """
    known = profile_networks(
        space,
        max(profile.num_networks for profile in profiles),
        max(profile.num_held_out for profile in profiles),
        np.random.default_rng(PROFILE_SEED),
    )
    avoid = frozenset(n.digest for n in [*known.held_out, *known.candidates])
    stream = draw_distinct(space, np.random.default_rng(TEST_SEED), avoid)
    test = [draw for draw, _ in zip(stream, range(count), strict=False)]
    if len(test) < count:
        raise ValueError(
            f"expected {count} test networks that the profiles do not use, the space has {len(test)}: set --test lower"
        )
    return test


@dataclass(frozen=True)
class _Attempt:
    """What a method came to."""

    method: str
    scale: float
    outcome: Predicted | LatencyModelError
    num_fit: int = 0
    seconds: float = 0.0


def measure_cell(
    plan: Plan, space: SearchSpace, test: Sequence[Draw], on_progress: OnProgress
) -> Cell:
    """Measure and judge; what is refused or cannot be measured becomes a row that says so."""
    digests = tuple(draw.network.digest for draw in test)
    tried = {s: _tried(_profile, plan, s, space, on_progress) for s in plan.scales}
    files = {scale: file for scale, file in tried.items() if isinstance(file, DeviceFile)}
    failed = [
        _Attempt("profile", s, e) for s, e in tried.items() if isinstance(e, LatencyModelError)
    ]
    if not files:
        return Cell(plan=plan, test=digests, rows=tuple(_row(plan, a) for a in failed))

    scale = min(files, key=lambda s: (abs(math.log2(s)), -s))  # the nearest to 1
    measured = _tried(_measure, plan, scale, files[scale], space, test, on_progress)
    if isinstance(measured, LatencyModelError):
        failed += [_Attempt("profile", s, measured) for s in files]
        return Cell(plan=plan, test=digests, rows=tuple(_row(plan, a) for a in failed))
    attempts = [*failed, *_profiles(files, files[scale].report.reference_ms, test)]
    if measured.training is not None:
        on_progress("fitting the alternatives")
        attempts += _alternatives(scale, files[scale], space, test, measured.training)
    return Cell(
        plan=plan,
        device=files[scale].device,
        test=digests,
        first_ms=measured.first_ms,
        second_ms=measured.second_ms,
        rows=tuple(_row(plan, a, measured) for a in attempts),
    )


def _tried(work: Callable[..., T], *arguments: object) -> T | LatencyModelError:
    try:
        return work(*arguments)
    except LatencyModelError as error:
        return error


def _profile(plan: Plan, scale: float, space: SearchSpace, on_progress: OnProgress) -> DeviceFile:
    config = plan.scaled(scale)
    return profile_device(
        space,
        plan.device,
        config,
        seed=PROFILE_SEED,
        on_progress=lambda what, share: on_progress(f"{config.budget_s:g} s: {what}"),
    )


@dataclass(frozen=True)
class _Measured:
    """The test networks' two measurements in ms, and the alternatives' training networks where they are wanted."""

    first_ms: tuple[float, ...]
    second_ms: tuple[float, ...]
    training: Training | LatencyModelError | None


def _measure(
    plan: Plan,
    scale: float,
    file: DeviceFile,
    space: SearchSpace,
    test: Sequence[Draw],
    on_progress: OnProgress,
) -> _Measured:
    """In `file`'s milliseconds. Raises MeasuringFailed where a test network does not run."""
    networks = [draw.network for draw in test]
    on_progress("test networks")
    first = [m.latency.value for m in file.measure(networks, seed=0)]
    training = None
    if plan.alternatives:
        on_progress("training networks of the alternatives")
        training = _tried(_train, plan, scale, file, space, test)
    on_progress("test networks again")
    order = np.random.default_rng(TEST_SEED).permutation(len(networks))
    again = file.measure([networks[i] for i in order], seed=1)
    second = [again[i].latency.value for i in np.argsort(order)]
    return _Measured(tuple(first), tuple(second), training)


def _train(
    plan: Plan, scale: float, file: DeviceFile, space: SearchSpace, test: Sequence[Draw]
) -> Training:
    """As long as `file` took, none of `test`. Raises MeasuringFailed."""
    avoid = frozenset(draw.network.digest for draw in test)
    return measure_training(
        draw_distinct(space, np.random.default_rng(TRAINING_SEED), avoid),
        file.device,
        plan.scaled(scale),
        seconds=file.report.seconds,
        references=file.references,
        reference_ms=file.report.reference_ms,
        seed=TRAINING_SEED,
    )


def _profiles(
    files: Mapping[float, DeviceFile], reference_ms: float, test: Sequence[Draw]
) -> list[_Attempt]:
    """Each file's predictions, in the milliseconds of a file whose reference took `reference_ms`."""
    attempts = []
    for scale, file in files.items():
        costs = [c.latency_ms[-1] for c in file.cost_model().predict([d.network for d in test])]
        factor = reference_ms / file.report.reference_ms
        predicted = Predicted(
            factor * np.array([cost.value for cost in costs]),
            factor * np.array([cost.std for cost in costs]),
        )
        report = file.report
        attempts.append(_Attempt("profile", scale, predicted, report.num_fit, report.seconds))
    return attempts


def _alternatives(
    scale: float,
    file: DeviceFile,
    space: SearchSpace,
    test: Sequence[Draw],
    training: Training | LatencyModelError,
) -> list[_Attempt]:
    lookup = Predicted(lookup_ms(file.additive, [draw.network for draw in test]))
    attempts = [_Attempt("lookup", scale, lookup, 0, file.report.seconds)]
    methods: dict[str, Callable[[Training], Predicted]] = {
        "MACs": lambda training: predict_by_size(training, test, by="MACs"),
        "parameters": lambda training: predict_by_size(training, test, by="parameters"),
        "MLP": lambda training: predict_by_mlp(space, training, test),
        "choice model": lambda training: predict_by_choices(space, training, test, seed=POOL_SEED),
    }
    for method, predict in methods.items():
        if isinstance(training, LatencyModelError):
            attempts.append(_Attempt(method, scale, training))
            continue
        outcome = _tried(predict, training)
        attempts.append(_Attempt(method, scale, outcome, len(training.draws), training.seconds))
    return attempts


def _row(plan: Plan, attempt: _Attempt, measured: _Measured | None = None) -> Row:
    row = Row(
        method=attempt.method,
        scale=attempt.scale,
        budget_s=plan.scaled(attempt.scale).budget_s,
        num_fit=attempt.num_fit,
        seconds=attempt.seconds,
    )
    outcome = attempt.outcome
    if isinstance(outcome, LatencyModelError):
        return row.model_copy(update={"failure": f"{type(outcome).__name__}: {outcome}"})
    assert measured is not None, "only failures come without test networks"
    figures = {
        "judged": judge(outcome, measured.first_ms, measured.second_ms),
        "predicted_ms": tuple(outcome.values_ms.tolist()),
        "std_ms": () if outcome.stds_ms is None else tuple(outcome.stds_ms.tolist()),
    }
    return row.model_copy(update=figures)
