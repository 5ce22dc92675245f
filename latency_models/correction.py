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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import nnls

from archspace import Block, Network
from latency_models.additive import AdditiveTable
from latency_models.features import FEATURES, block_digest, block_features

_FOLDS = 5
_PULL = 0.1  # weight of the prior a = 1, w = 0, in networks of relative error 1
_DEVIATION_STD = 0.05
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
        weights = np.array([self.weights.get(name, 0.0) for name in FEATURES])
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
    design = _Design.of(table, networks)
    weights = _fit_weights(design.totals, times)
    deviations = _fit_deviations(design, weights, times, noise)
    names = [*design.digests]
    return Correction(
        overhead_ms=float(weights[0]),
        scale=float(weights[1]),
        weights={n: float(w) for n, w in zip(FEATURES, weights[2:], strict=True) if w > 0},
        deviations={n: float(d) for n, d in zip(names, deviations, strict=True)},
        relative_std=_cross_validated_std(design, times, noise),
    )


@dataclass(frozen=True, slots=True)
class _Design:
    """Networks as sums over blocks.

    `blocks`: (distinct blocks, 2 + features), columns 0 (overhead is the network's), t, features.
    `counts`: (networks, distinct blocks). `totals`: (networks, 2 + features), columns 1, Σ t, Σ features.
    """

    digests: tuple[str, ...]
    blocks: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, table: AdditiveTable, networks: Sequence[Network]) -> _Design:
        position: dict[str, int] = {}
        rows: list[list[float]] = []
        for network in networks:
            for block in network.blocks:
                digest = block_digest(block)
                if digest not in position:
                    position[digest] = len(rows)
                    rows.append([0.0, table.lone_ms(block)[0], *block_features(block)])
        counts = np.zeros((len(networks), len(rows)))
        for i, network in enumerate(networks):
            for block in network.blocks:
                counts[i, position[block_digest(block)]] += 1
        return cls(tuple(position), np.array(rows), counts)

    @property
    def totals(self) -> NDArray[np.float64]:
        totals = self.counts @ self.blocks
        totals[:, 0] = 1.0
        return totals

    def part(self, chosen: NDArray[np.bool_]) -> _Design:
        return _Design(self.digests, self.blocks, self.counts[chosen])


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
    design: _Design, weights: NDArray[np.float64], times: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    base = design.blocks @ weights  # (distinct blocks,)
    residual = 1 - (weights[0] + design.counts @ base) / times
    share = _DEVIATION_STD * design.counts * base / times[:, None]  # (networks, distinct blocks)
    gram = share @ share.T + noise**2 * np.eye(len(times))
    deviations = _DEVIATION_STD * share.T @ np.linalg.solve(gram, residual)
    return np.asarray(np.clip(deviations, -_LARGEST_DEVIATION, _LARGEST_DEVIATION))


def _cross_validated_std(design: _Design, times: NDArray[np.float64], noise: float) -> float:
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
