"""Measures latencies that hold on machines whose speed drifts.

Networks are timed in interleaved passes together with reference networks. What counts is each network's time as
a ratio to the references': a clock that drifts, or a neighbour that takes half of the machine for a while, changes
all alike. All networks of a pass tell how slow the machine was then (`median_polish`). References of several sizes
tie groups together better than one: a disturbance seldom slows small and large networks by the same factor.

| word | meaning |
|---|---|
| sample | mean over some calls in a row (enough to last about 0.25 ms), after one call that is not timed (none where a call takes over 20 ms) |
| pass | one sample of every network of the group, the references among them, in a new random order |
| round | `repeats` passes |
| reference | from here on: the geometric mean of the reference networks' times |
| measurement | the network's level over the reference's, times the reference's own time |

A round in which the reference took over 50 % more or less than in the median round is thrown away: something else ran
then, and a ratio of two times that were disturbed differently says nothing.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from archspace import INPUT, Layer, Network, Shape
from latency_models.cost import Cost
from latency_models.device import Device
from latency_models.errors import MeasuringFailed
from latency_models.polish import median_polish
from latency_models.runners import Loader, Runner, load_runner, runtime_threads

Clock = Callable[[], float]
"""Seconds since some moment; monotonic."""

GROUP_SIZE = 24
"""Networks that are alive and interleaved at once, references not counted."""
SAMPLE_SECONDS = 0.00025
MAX_CALLS = 50
UNTIMED_BELOW_SECONDS = 0.02
"""Slower networks load code and weights many times over within a call: none goes before it."""
ROUND_SECONDS = 0.01
"""Slow networks need no more passes in a round than fit into this (a call of theirs is a long sample)."""
LARGEST_DRIFT = 1.5
"""Of the reference's time in a round, over its median or under it."""
_IQR_OF_NORMAL = 1.349
"""Interquartile range of a normal distribution with standard deviation 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One network, measured.

    Attributes:
        latency: of one call, in ms, source ``measured``. Its std is that of one round (how far a user's own
            repeat may be off), from the interquartile range of the rounds' ratios.
        rounds: number of rounds behind it.
        discarded: rounds thrown away, because the reference drifted in them.
        reference_ms: the reference's time that ratios were multiplied with.
        drift: the reference's time in the last round over that in the first, minus 1.
    """

    latency: Cost
    rounds: int
    reference_ms: float
    drift: float
    discarded: int = 0

    def at_reference(self, reference_ms: float) -> Measurement:
        """The same measurement as if the reference had taken `reference_ms`."""
        scale = reference_ms / self.reference_ms
        latency = Cost(self.latency.value * scale, self.latency.std * scale, "measured")
        return replace(self, latency=latency, reference_ms=reference_ms)


@cache
def reference_network() -> Network:
    """The reference of every space: two convolutions and a depthwise one on 16×16 pixels, then a classifier."""
    return Network(
        input_shape=Shape(3, 16, 16),
        num_classes=10,
        layers=(
            _reference_conv("conv1", INPUT, 3, 16, kernel=3),
            _reference_conv("depthwise", "conv1", 16, 16, kernel=3, groups=16),
            _reference_conv("conv2", "depthwise", 16, 32, kernel=1),
            Layer(
                name="pool",
                op="global_avg_pool",
                inputs=("conv2",),
                block="head",
                in_channels=32,
                out_channels=32,
            ),
            Layer(
                name="logits",
                op="linear",
                inputs=("pool",),
                block="head",
                in_channels=32,
                out_channels=10,
            ),
        ),
        output="logits",
    )


def _reference_conv(
    name: str, source: str, in_channels: int, out_channels: int, *, kernel: int, groups: int = 1
) -> Layer:
    return Layer(
        name=name,
        op="conv",
        inputs=(source,),
        block="body",
        in_channels=in_channels,
        out_channels=out_channels,
        kernel=kernel,
        padding=kernel // 2,
        groups=groups,
        norm=True,
        activation="relu",
    )


def measure_networks(
    networks: Sequence[Network],
    device: Device,
    *,
    rounds: int = 9,
    repeats: int = 5,
    references: Sequence[Network] | None = None,
    reference_ms: float | None = None,
    seed: int = 0,
    load: Loader = load_runner,
    clock: Clock = time.perf_counter,
) -> list[Measurement]:
    """Measure each network; see the file's head for how.

    Args:
        networks: what to measure; results come in their order.
        device: from `Device.here`; it is this machine.
        rounds: rounds behind each measurement, ≥ 2.
        repeats: passes in a round, ≥ 1; fewer where a network takes more than 2 ms (`ROUND_SECONDS`).
        references: networks that ratios are taken to, at least one; `reference_network` alone by default.
        reference_ms: time that ratios are multiplied with, for figures that compare with an earlier
            measurement beside the same references; by default the reference's median over all rounds here.
        seed: of the order of networks within passes.
        load, clock: how networks are made ready and timed.

    Raises:
        MeasuringFailed: a network does not run, or its time cannot be told from 0.
    """
    results = measure_each(
        networks,
        device,
        rounds=rounds,
        repeats=repeats,
        references=references,
        reference_ms=reference_ms,
        seed=seed,
        load=load,
        clock=clock,
    )
    measured = []
    for result in results:
        if isinstance(result, MeasuringFailed):
            raise result
        measured.append(result)
    return measured


def measure_each(
    networks: Sequence[Network],
    device: Device,
    *,
    rounds: int = 9,
    repeats: int = 5,
    references: Sequence[Network] | None = None,
    reference_ms: float | None = None,
    seed: int = 0,
    load: Loader = load_runner,
    clock: Clock = time.perf_counter,
) -> list[Measurement | MeasuringFailed]:
    """Like `measure_networks`, but a network that fails gives its error in its place."""
    if rounds < 2 or repeats < 1:
        raise ValueError(f"expected rounds ≥ 2 and repeats ≥ 1, got {rounds} and {repeats}")
    if references is None:
        references = [reference_network()]
    elif not references:
        raise ValueError("expected at least one reference network, got none")
    rng = np.random.default_rng(seed)
    results: list[_Rounds | MeasuringFailed] = []
    with runtime_threads(device):
        reference_runners = [load(reference, device) for reference in references]
        for start in range(0, len(networks), GROUP_SIZE):
            group = networks[start : start + GROUP_SIZE]
            timer = _Timer(rounds, repeats, rng, clock)
            results += _measure_group(group, reference_runners, device, load, timer)
    own_ms = _pooled_reference_ms([r for r in results if isinstance(r, _Rounds)])
    return [
        result
        if isinstance(result, MeasuringFailed)
        else result.measurement(own_ms if reference_ms is None else reference_ms)
        for result in results
    ]


@dataclass(frozen=True, slots=True)
class _Rounds:
    """One network beside the reference.

    Attributes:
        ratio: the network's time over the reference's, the machine's speed divided out.
        in_rounds: (rounds,) the same by single rounds.
        reference_s: (rounds,) median seconds of a call, geometric mean over the references, as they were.
        discarded: rounds thrown away.
    """

    ratio: float
    in_rounds: NDArray[np.float64]
    reference_s: NDArray[np.float64]
    discarded: int = 0

    def measurement(self, reference_ms: float) -> Measurement:
        low, high = np.percentile(self.in_rounds, [25, 75])
        std = float(high - low) / _IQR_OF_NORMAL
        return Measurement(
            latency=Cost(self.ratio * reference_ms, std * reference_ms, "measured"),
            rounds=len(self.in_rounds),
            reference_ms=reference_ms,
            drift=float(self.reference_s[-1] / self.reference_s[0]) - 1,
            discarded=self.discarded,
        )


def _compared(seconds: NDArray[np.float64], num_references: int) -> list[_Rounds]:
    """One a network, from (rounds, passes, references + networks) seconds > 0, the references first."""
    logs = np.log(seconds)
    reference = np.median(logs[:, :, :num_references], axis=1).mean(axis=1)  # (rounds,)
    kept = _steady(np.exp(reference))
    logs, reference_s = logs[kept], np.exp(reference[kept])
    levels, speeds = median_polish(logs.reshape(-1, logs.shape[2]))
    level = levels[:num_references].mean()
    in_rounds = np.median(logs - speeds.reshape(*logs.shape[:2], 1), axis=1) - level
    return [
        _Rounds(
            ratio=float(np.exp(levels[i] - level)),
            in_rounds=np.exp(in_rounds[:, i]),
            reference_s=reference_s,
            discarded=int((~kept).sum()),
        )
        for i in range(num_references, len(levels))
    ]


def _steady(reference_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(rounds,) False where the reference drifted; True for all, where less than half would be left."""
    off = reference_s / np.median(reference_s)
    kept = (off < LARGEST_DRIFT) & (off > 1 / LARGEST_DRIFT)
    return kept if kept.sum() >= max(2, len(kept) / 2) else np.ones_like(kept)


def _pooled_reference_ms(rounds: Sequence[_Rounds]) -> float:
    if not rounds:
        return math.nan
    return 1e3 * float(np.median(np.concatenate([r.reference_s for r in rounds])))


def _measure_group(
    group: Sequence[Network],
    references: Sequence[Runner],
    device: Device,
    load: Loader,
    timer: _Timer,
) -> list[_Rounds | MeasuringFailed]:
    results: list[_Rounds | MeasuringFailed | None] = []
    runners = []
    for network in group:
        try:
            runners.append(load(network, device))
            results.append(None)
        except MeasuringFailed as error:
            results.append(error)
    with _no_garbage_collection():
        times = timer.run([*references, *runners])  # (rounds, passes, references + runners)
    usable = [_usable(times[:, :, i]) for i in range(times.shape[2])]
    comparable = all(usable[: len(references)])
    told = iter(_compared(times[:, :, usable], len(references)) if comparable else ())
    column = len(references) - 1
    final: list[_Rounds | MeasuringFailed] = []
    for network, result in zip(group, results, strict=True):
        if result is not None:
            final.append(result)
            continue
        column += 1
        if comparable and usable[column]:
            final.append(next(told))
        else:
            final.append(_too_coarse(network, times[:, :, column]))
    return final


def _usable(seconds: NDArray[np.float64]) -> bool:
    return bool((np.isfinite(seconds) & (seconds > 0)).all())


def _too_coarse(network: Network, seconds: NDArray[np.float64]) -> MeasuringFailed:
    return MeasuringFailed(
        f"network {network.digest}: times of {seconds.min():g} to {seconds.max():g} s beside the references' are not all "
        "above 0; the clock of this machine is too coarse"
    )


class _Timer:
    """Times runners in interleaved passes."""

    def __init__(self, rounds: int, repeats: int, rng: np.random.Generator, clock: Clock) -> None:
        self._rounds, self._repeats, self._rng, self._clock = rounds, repeats, rng, clock

    def run(self, runners: Sequence[Runner]) -> NDArray[np.float64]:
        """Seconds a call; shape (rounds, passes, number of runners)."""
        quickest = [self._warm_up(runner) for runner in runners]
        calls = [_calls(seconds) for seconds in quickest]
        repeats = max(1, min(self._repeats, int(ROUND_SECONDS / max(*quickest, 1e-9))))
        seconds = np.empty((self._rounds, repeats, len(runners)))
        for round_ in range(self._rounds):
            for repeat in range(repeats):
                for i in self._rng.permutation(len(runners)):
                    if quickest[i] < UNTIMED_BELOW_SECONDS:
                        runners[i]()  # brings its code and weights back into the caches
                    seconds[round_, repeat, i] = self._sample(runners[i], calls[i])
        return seconds

    def _sample(self, runner: Runner, calls: int) -> float:
        clock = self._clock
        start = clock()
        for _ in range(calls):
            runner()
        return (clock() - start) / calls

    def _warm_up(self, runner: Runner) -> float:
        """Run a few times; the quickest call in seconds."""
        runner()
        return min(self._sample(runner, 1) for _ in range(5))


def _calls(quickest: float) -> int:
    """How many calls make a sample."""
    if quickest <= 0:
        return MAX_CALLS
    return max(1, min(MAX_CALLS, math.ceil(SAMPLE_SECONDS / quickest)))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
