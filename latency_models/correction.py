"""The learned correction: from lone blocks to what they cost inside whole networks.

Inside a network a block costs less than alone (its map is already laid out and in the cache, no call is paid),
and how much less depends on what it does. The correction is fitted on whole networks, and stays additive over
blocks: then a hard limit can be checked exactly for every completion of a half-decided network.

    latency = overhead + Σ_blocks c(b),    c(b) = (a · t(b) + Σ_j w_j · feature_j(b)) · (1 + δ(b))

a, w, overhead ≥ 0 by non-negative least squares on relative errors, drawn a little towards "blocks cost what they
cost alone" (a = 1, w = 0), which decides where networks are few. δ(b) is a block's own deviation, by ridge
regression on what remains: the posterior mean under δ ~ N(0, 0.05²) and the measurements' noise
(Rasmussen & Williams 2006, section 2.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import nnls

from archspace import Block, Network
from latency_models.additive import AdditiveTable
from latency_models.features import BLOCK_FEATURES, block_digest, block_features

_FOLDS = 5
_PULL = 0.1  # weight of the prior a = 1, w = 0, in networks of relative error 1
DEVIATION_STD = 0.05
_COMMON_STD = 0.1  # of how much a machine's speed changes after its profile, for all blocks alike
_LARGEST_DEVIATION = 0.5
_LEAST_NOISE = 0.01
_LEAST_RELATIVE_STD = 0.01


class Correction(BaseModel):
    """See the file's head.

    Attributes:
        overhead_ms: what every network pays on top of its blocks.
        scale: a.
        weights: w in ms a unit of feature, by name; absent ones are 0.
        deviations: δ by `block_digest`; absent ones are 0.
        relative_std: standard deviation of the relative error on networks not fitted (cross-validation).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    overhead_ms: float = Field(ge=0)
    scale: float = Field(ge=0)
    weights: Mapping[str, float]
    deviations: Mapping[str, float]
    relative_std: float = Field(gt=0)

    def block_ms(self, block: Block, lone_ms: float) -> float:
        """c(b) ≥ 0; `lone_ms` is t(b)."""
        weights = np.array([self.weights.get(name, 0.0) for name in BLOCK_FEATURES])
        base = self.scale * lone_ms + float(weights @ block_features(block))
        return base * (1 + self.deviations.get(block_digest(block), 0.0))


def fit_correction(
    table: AdditiveTable,
    networks: Sequence[Network],
    measured_ms: Sequence[float],
    measured_std_ms: Sequence[float],
) -> Correction:
    """Fit on whole networks.

    Args:
        table: the blocks' costs.
        networks: at least two.
        measured_ms: each network's latency, > 0.
        measured_std_ms: each measurement's spread, ≥ 0.
    """
    times = np.asarray(measured_ms, dtype=np.float64)
    noise = max(_LEAST_NOISE, float(np.median(np.asarray(measured_std_ms) / times)))
    design = BlockDesign.of(table, networks)
    weights = _fit_weights(design.totals, times)
    deviations = _fit_deviations(design, weights, times, noise)
    names = [*design.digests]
    return Correction(
        overhead_ms=float(weights[0]),
        scale=float(weights[1]),
        weights={n: float(w) for n, w in zip(BLOCK_FEATURES, weights[2:], strict=True) if w > 0},
        deviations={n: float(d) for n, d in zip(names, deviations, strict=True)},
        relative_std=_cross_validated_std(design, times, noise),
    )


def update_correction(
    correction: Correction,
    table: AdditiveTable,
    networks: Sequence[Network],
    measured_ms: Sequence[float],
    measured_std_ms: Sequence[float],
) -> Correction:
    """What `correction` becomes when a few more networks were measured.

    The posterior mean of a common factor 1 + s, s ~ N(0, 0.1²), and of a further deviation of each of the
    networks' blocks, δ ~ N(0, 0.05²), given the relative errors of the present predictions and the measurements' noise.
    Costs stay positive and additive.

    Args:
        correction, table: what predicts now.
        networks: at least one.
        measured_ms, measured_std_ms: as for `fit_correction`.
    """
    times = np.asarray(measured_ms, dtype=np.float64)
    noise = max(_LEAST_NOISE, float(np.median(np.asarray(measured_std_ms) / times)))
    blocks, counts = _count_blocks(networks)
    costs = np.array([correction.block_ms(b, table.lone_ms(b)[0]) for b in blocks.values()])
    predicted = correction.overhead_ms + counts @ costs
    share = DEVIATION_STD * counts * costs / predicted[:, None]  # (networks, distinct blocks)
    gram = share @ share.T + _COMMON_STD**2 + noise**2 * np.eye(len(times))
    pull = np.linalg.solve(gram, times / predicted - 1)
    factor = max(1 - _LARGEST_DEVIATION, 1 + _COMMON_STD**2 * float(pull.sum()))
    deviations = dict(correction.deviations)
    for digest, further in zip(blocks, DEVIATION_STD * share.T @ pull, strict=True):
        deviation = (1 + deviations.get(digest, 0.0)) * (1 + float(further)) - 1
        deviations[digest] = min(max(deviation, -_LARGEST_DEVIATION), _LARGEST_DEVIATION)
    return Correction(
        overhead_ms=factor * correction.overhead_ms,
        scale=factor * correction.scale,
        weights={name: factor * weight for name, weight in correction.weights.items()},
        deviations=deviations,
        relative_std=correction.relative_std,
    )


def _count_blocks(
    networks: Sequence[Network],
) -> tuple[dict[str, Block], NDArray[np.float64]]:
    """(the distinct blocks by digest, how often each network holds each; shape (networks, blocks))."""
    blocks: dict[str, Block] = {}
    own = []
    for network in networks:
        digests = [block_digest(block) for block in network.blocks]
        blocks |= zip(digests, network.blocks, strict=True)
        own.append(Counter(digests))
    return blocks, np.array([[each[digest] for digest in blocks] for each in own], np.float64)


@dataclass(frozen=True, slots=True)
class BlockDesign:
    """Networks as sums over blocks.

    `blocks`: (distinct blocks, 2 + features), columns 0 (overhead is the network's), t, features.
    `counts`: (networks, distinct blocks). `totals`: (networks, 2 + features), columns 1, Σ t, Σ features.
    """

    digests: tuple[str, ...]
    blocks: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, table: AdditiveTable, networks: Sequence[Network]) -> BlockDesign:
        blocks, counts = _count_blocks(networks)
        rows = [[0.0, table.lone_ms(b)[0], *block_features(b)] for b in blocks.values()]
        return cls(tuple(blocks), np.array(rows), counts)

    @property
    def totals(self) -> NDArray[np.float64]:
        totals = self.counts @ self.blocks
        totals[:, 0] = 1.0
        return totals

    def part(self, chosen: NDArray[np.bool_]) -> BlockDesign:
        return BlockDesign(self.digests, self.blocks, self.counts[chosen])


def _fit_weights(totals: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(overhead, a, w…) ≥ 0 that minimise Σ ((A·x − y) / y)² + pull² · Σ ((x − prior) · rms)²."""
    relative = totals / times[:, None]
    rms = np.sqrt(np.mean(relative**2, axis=0))
    prior = np.zeros(len(rms))
    prior[1] = 1.0
    pull = np.diag(_PULL * rms)
    pull[0] = 0.0  # the overhead is free
    return np.asarray(
        nnls(np.vstack([relative, pull]), np.concatenate([np.ones(len(times)), pull @ prior]))[0]
    )


def _fit_deviations(
    design: BlockDesign, weights: NDArray[np.float64], times: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    base = design.blocks @ weights  # (distinct blocks,)
    residual = 1 - (weights[0] + design.counts @ base) / times
    share = DEVIATION_STD * design.counts * base / times[:, None]  # (networks, distinct blocks)
    gram = share @ share.T + noise**2 * np.eye(len(times))
    deviations = DEVIATION_STD * share.T @ np.linalg.solve(gram, residual)
    return np.asarray(np.clip(deviations, -_LARGEST_DEVIATION, _LARGEST_DEVIATION))


def _cross_validated_std(design: BlockDesign, times: NDArray[np.float64], noise: float) -> float:
    fold = np.arange(len(times)) % min(_FOLDS, len(times))
    errors = np.empty(len(times))
    for k in range(int(fold.max()) + 1):
        train, test = fold != k, fold == k
        part = design.part(train)
        weights = _fit_weights(part.totals, times[train])
        deviations = _fit_deviations(part, weights, times[train], noise)
        costs = (design.blocks @ weights) * (1 + deviations)
        errors[test] = (weights[0] + design.counts[test] @ costs) / times[test] - 1
    return max(_LEAST_RELATIVE_STD, float(np.sqrt(np.mean(errors**2))))
