"""Blocks measured one by one, and a regression for those that were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import nnls

from archspace import Block
from latency_models.errors import DeviceFileError
from latency_models.features import BLOCK_FEATURES, block_digest, block_features, layer_kinds

_FOLDS = 5
_LEAST_RELATIVE_STD = 0.02


class AdditiveTable(BaseModel):
    """Block → milliseconds that the block adds to a network when it is measured alone.

    A block alone is a network that pays for a call. So t = measured − `call_ms`, at least 0. For a block that
    was not measured, t = Σ `weights`_j · feature_j (all ≥ 0; see `features.BLOCK_FEATURES`), fitted on those that were
    (non-negative least squares on relative errors).

    Attributes:
        call_ms: time of a network that does next to nothing.
        blocks_ms: t of each measured block, by its `block_digest`.
        weights: ms a unit of each feature, by name; absent ones are 0.
        kinds: kinds of layers (`features.layer_kinds`) that measured blocks hold; others cannot be predicted.
        relative_std: standard deviation of the regression's relative error (t + call_ms), by
            cross-validation over blocks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    call_ms: float = Field(gt=0)
    blocks_ms: Mapping[str, float]
    weights: Mapping[str, float]
    kinds: tuple[str, ...]
    relative_std: float = Field(gt=0)

    def lone_ms(self, block: Block) -> tuple[float, bool]:
        """(t, whether it was measured). Raises DeviceFileError for kinds of layers never measured."""
        measured = self.blocks_ms.get(block_digest(block))
        if measured is not None:
            return measured, True
        unknown = sorted(set(layer_kinds(block)) - set(self.kinds))
        if unknown:
            raise DeviceFileError(
                f"block {block.name}: nothing like {', '.join(unknown)} was measured for this device file "
                f"(it knows {', '.join(self.kinds)}); measure the device again with this search space"
            )
        weights = np.array([self.weights.get(name, 0.0) for name in BLOCK_FEATURES])
        return float(weights @ block_features(block)), False


def fit_additive(
    blocks: Sequence[Block], measured_ms: Sequence[float], call_ms: float
) -> AdditiveTable:
    """Table of `blocks` measured alone, and the regression for all others.

    Args:
        blocks: at least one.
        measured_ms: each block's latency as a network of its own, > 0.
        call_ms: that of a network that does next to nothing, > 0.
    """
    features = np.array([block_features(block) for block in blocks])
    times = np.asarray(measured_ms, dtype=np.float64)
    call_ms = min(call_ms, float(times.min()))
    weights = _regression(features, times, call_ms)
    return AdditiveTable(
        call_ms=call_ms,
        blocks_ms={
            block_digest(block): float(time - call_ms)
            for block, time in zip(blocks, times, strict=True)
        },
        weights={n: float(w) for n, w in zip(BLOCK_FEATURES, weights, strict=True) if w > 0},
        kinds=tuple(sorted({kind for block in blocks for kind in layer_kinds(block)})),
        relative_std=_cross_validated_std(features, times, call_ms),
    )


def _regression(
    features: NDArray[np.float64], times: NDArray[np.float64], call_ms: float
) -> NDArray[np.float64]:
    """argmin_{w ≥ 0} Σ ((call_ms + f·w − t) / t)²."""
    return np.asarray(nnls(features / times[:, None], 1 - call_ms / times)[0])


def _cross_validated_std(
    features: NDArray[np.float64], times: NDArray[np.float64], call_ms: float
) -> float:
    fold = np.arange(len(times)) % min(_FOLDS, len(times))
    if len(times) < 2:
        return 1.0  # one block says nothing about others
    errors = np.empty(len(times))
    for k in range(int(fold.max()) + 1):
        train, test = fold != k, fold == k
        predicted = call_ms + features[test] @ _regression(features[train], times[train], call_ms)
        errors[test] = predicted / times[test] - 1
    return max(_LEAST_RELATIVE_STD, float(np.sqrt(np.mean(errors**2))))
