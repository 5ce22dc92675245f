"""When a sample leaves a network early: entropies, thresholds, and what they lead to. No torch.

A sample leaves at the first exit whose normalised entropy is ≤ the exit's threshold (BranchyNet, Teerapittayanon
et al. 2016, section III-B), else at the final head. Entropies are above 0, so a threshold of 0 switches an exit off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

SMALLEST_ENTROPY = float(np.finfo(np.float32).tiny)
"""What an entropy that float32 rounds to 0 counts as."""
_CANDIDATES = 128
"""Thresholds tried an exit: that many quantiles of the entropies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExitChoice:
    """Thresholds and what they give on the data on which they were chosen.

    Attributes:
        thresholds: one an exit, in [0, 1]; 0 means that the exit is off. Exact in float32.
        shares: of the samples, leaving at each exit, then at the final head; they sum to 1.
        accuracy: share 0–1 of samples that are right where they leave.
        accuracy_no_exit: share 0–1 of samples that are right at the final head.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    accuracy: float
    accuracy_no_exit: float


class ExitPredictions(NamedTuple):
    """Class of each sample, and the head that decided it (0 is the first exit); int64, shape (samples,)."""

    predictions: NDArray[np.int64]
    exit_index: NDArray[np.int64]


def normalised_entropy(logits: Floats) -> NDArray[np.float32]:
    """H(softmax(logits)) / log(classes) of each sample, in [`SMALLEST_ENTROPY`, 1]; computed in float32.

    Args:
        logits: shape (samples, classes), at least two classes. A row that is not finite gives
            NaN, which is below no threshold: such a sample goes on to the next head.

    Raises:
        ValueError: another shape, or fewer than two classes.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits: expected (samples, classes ≥ 2), got shape {logits.shape}")
    with np.errstate(all="ignore"):
        shifted = logits.astype(np.float32)
        shifted = shifted - shifted.max(axis=1, keepdims=True)
        log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        entropy = -(np.exp(log_shares) * log_shares).sum(axis=1) / np.float32(
            np.log(logits.shape[1])
        )
    clipped: NDArray[np.float32] = np.clip(entropy, np.float32(SMALLEST_ENTROPY), np.float32(1.0))
    return clipped


def apply_exits(logits: Sequence[Floats], thresholds: Sequence[float]) -> ExitPredictions:
    """Let each sample leave at its first sure exit.

    Args:
        logits: one (samples, classes) array a head, the final one last.
        thresholds: one an exit, in [0, 1].

    Raises:
        ValueError: as many thresholds as exits were expected, or a threshold is outside [0, 1].
    """
    _check_logits(logits)
    if len(thresholds) != len(logits) - 1:
        raise ValueError(f"expected {len(logits) - 1} thresholds, got {len(thresholds)}")
    for threshold in thresholds:
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold {threshold} is outside [0, 1]")
    leaves = [
        normalised_entropy(head) <= np.float32(threshold)
        for head, threshold in zip(logits, thresholds, strict=False)
    ]
    leaves.append(np.ones(len(logits[0]), dtype=np.bool_))
    exit_index = np.argmax(leaves, axis=0).astype(np.int64)  # the first head where it may leave
    classes = np.stack([head.argmax(axis=1) for head in logits])  # (heads, samples)
    predictions = classes[exit_index, np.arange(len(exit_index))].astype(np.int64)
    return ExitPredictions(predictions, exit_index)


def choose_thresholds(
    logits: Sequence[Floats],
    labels: Integers,
    max_drop: float = 0.005,
    *,
    head_costs: Sequence[float] | None = None,
) -> ExitChoice:
    """Thresholds that make samples leave as cheaply as the accuracy allows.

    Minimises the mean cost of the head at which a sample leaves, subject to accuracy ≥ that of the final head −
    `max_drop` on these samples; among equal costs the higher accuracy wins, then the lower thresholds. Candidates are
    quantiles of each exit's entropies. With one or two exits the best pair of candidates is found; with more, pairs
    are improved in turn until none can be. Deterministic.

    Args:
        logits: one (samples, classes) array a head, the final one last; validation data, not used for training.
        labels: true classes, shape (samples,).
        max_drop: accuracy that may be lost, share 0–1 (0.005 = half a point).
        head_costs: what running up to each head costs, in any unit, growing; None for equal steps.

    Raises:
        ValueError: shapes that do not fit together, no samples, a `max_drop` outside [0, 1] or costs that fall.
    """
    _check_logits(logits)
    costs = np.asarray(range(len(logits)) if head_costs is None else head_costs, dtype=np.float64)
    _check_choosing(logits, labels, max_drop, costs)
    right = np.stack([head.argmax(axis=1) == labels for head in logits]).astype(np.int64)
    entropies = [normalised_entropy(head) for head in logits[:-1]]
    candidates = [_candidates(values) for values in entropies]
    problem = _Problem(
        bins=[np.searchsorted(c, e) for c, e in zip(candidates, entropies, strict=True)],
        sizes=[len(values) for values in candidates],
        right=right,
        # whole numbers, so that sums are exact in whatever order they are taken
        costs=np.rint(1e6 * (costs - costs[0]) / max(np.ptp(costs), 1e-300)).astype(np.int64),
        # a hair, so that 0.29 · 100 allows 29 and not 28
        fewest_right=int(right[-1].sum()) - int(max_drop * len(labels) + 1e-9),
    )
    thresholds = tuple(float(c[i]) for c, i in zip(candidates, _solve(problem), strict=True))
    predictions, exit_index = apply_exits(logits, thresholds)
    shares = np.bincount(exit_index, minlength=len(logits)) / len(labels)
    return ExitChoice(
        thresholds=thresholds,
        shares=tuple(shares.tolist()),
        accuracy=float((predictions == labels).mean()),
        accuracy_no_exit=float(right[-1].mean()),
    )


def _candidates(entropies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thresholds worth trying, growing, first 0 (off); each lies between two neighbouring entropies.

    Between, not on, a sample's entropy: another library's rounding must not move the sample.
    """
    seen = np.unique(entropies[~np.isnan(entropies)])
    above = np.append(seen[1:], np.float32(1.0))
    cuts = (seen + above) / np.float32(2.0)
    if len(cuts) > _CANDIDATES:
        cuts = cuts[np.linspace(0, len(cuts) - 1, _CANDIDATES).round().astype(np.intp)]
    return np.unique(np.append(np.float32(0.0), cuts))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """Choose one candidate an exit.

    Sample s may leave at exit e under candidate i iff i ≥ ``bins[e][s]``; candidate 0 is off. `right` is 0 or 1,
    shape (heads, samples); `costs` (heads,). At least `fewest_right` samples must be right where they leave.
    """

    bins: list[NDArray[np.intp]]
    sizes: list[int]
    right: NDArray[np.int64]
    costs: NDArray[np.int64]
    fewest_right: int


def _solve(problem: _Problem) -> list[int]:
    """Index of the chosen candidate of each exit. Every step improves (cost, wrong, candidates), so it ends."""
    num_exits = len(problem.bins)
    if num_exits == 1:  # give it a partner that is always off
        partner = np.ones_like(problem.bins[0])
        pair = replace(problem, bins=[*problem.bins, partner], sizes=[*problem.sizes, 1])
        return _solve(pair)[:1]
    chosen = [0] * num_exits
    while True:
        before = list(chosen)
        for first, second in combinations(range(num_exits), 2):
            chosen[first], chosen[second] = _best_pair(problem, chosen, first, second)
        if chosen == before:
            return chosen


def _best_pair(problem: _Problem, chosen: list[int], first: int, second: int) -> tuple[int, int]:
    """The best candidates of exits `first` < `second` while the others keep theirs."""
    others = _leaves_at(problem, chosen, without=(first, second))
    cost = _pair_totals(
        problem, others, first, second, np.broadcast_to(problem.costs[:, None], problem.right.shape)
    )
    right = _pair_totals(problem, others, first, second, problem.right)
    allowed = right >= problem.fewest_right
    assert allowed[chosen[first], chosen[second]], "the thresholds so far lose too much accuracy"
    cheapest = allowed & (cost == cost[allowed].min())
    best = cheapest & (right == right[cheapest].max())
    row, column = np.argwhere(best)[0]  # the lowest thresholds
    return int(row), int(column)


def _leaves_at(problem: _Problem, chosen: list[int], without: tuple[int, int]) -> NDArray[np.intp]:
    """Head at which each sample leaves if the exits `without` are off; shape (samples,)."""
    last = len(problem.right) - 1
    leaves = np.full(problem.right.shape[1], last, dtype=np.intp)
    for number in reversed(range(len(problem.bins))):
        if number not in without:
            leaves[problem.bins[number] <= chosen[number]] = number
    return leaves


def _pair_totals(
    problem: _Problem,
    others: NDArray[np.intp],
    first: int,
    second: int,
    values: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Σ over samples of ``values[head at which it leaves]`` for every pair of candidates.

    A sample adds one of four values: neither, one, or both of the two exits let it leave. By inclusion and
    exclusion these are sums over the rectangles i ≥ bin, j ≥ bin: two cumulative sums of one histogram.
    """
    samples = np.arange(len(others))
    neither = values[others, samples]
    one = values[np.minimum(first, others), samples] - neither
    two = values[np.minimum(second, others), samples] - neither
    both = -two  # where both let it leave, the first one does: only `one` counts
    rows, columns = problem.sizes[first], problem.sizes[second]
    histogram = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    histogram[0, 0] = neither.sum()
    i, j = problem.bins[first], problem.bins[second]
    for where, amount in (((i, 0 * j), one), ((0 * i, j), two), ((i, j), both)):
        np.add.at(histogram, where, amount)
    return histogram[:rows, :columns].cumsum(axis=0).cumsum(axis=1)


def _check_logits(logits: Sequence[Floats]) -> None:
    if not logits:
        raise ValueError("logits: expected at least the final head's, got none")
    for number, head in enumerate(logits):
        if head.ndim != 2 or head.shape != logits[0].shape:
            raise ValueError(
                f"logits: head {number} has shape {head.shape}; expected (samples, classes), "
                f"alike for all heads"
            )


def _check_choosing(
    logits: Sequence[Floats], labels: Integers, max_drop: float, costs: NDArray[np.float64]
) -> None:
    if labels.shape != logits[0].shape[:1] or not len(labels):
        raise ValueError(
            f"labels: expected one a sample ({logits[0].shape[0]}, at least 1), got {labels.shape}"
        )
    if not 0.0 <= max_drop <= 1.0:
        raise ValueError(f"max_drop: expected a share in [0, 1], got {max_drop}")
    if costs.shape != (len(logits),) or not np.isfinite(costs).all() or (np.diff(costs) < 0).any():
        raise ValueError(
            f"head_costs: expected {len(logits)} growing numbers, got {costs.tolist()}"
        )
