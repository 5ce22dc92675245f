"""Two devices, seen through the blocks that were measured alone on both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from archspace import Block
from latency_models.describe import describe_block
from latency_models.features import block_digest

if TYPE_CHECKING:
    from latency_models.additive import AdditiveTable
    from latency_models.device_file import DeviceFile

_LEAST_OF_A_CALL = 0.1
_LEAST_RANKED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRatio:
    """One block on both devices.

    Attributes:
        digest: its `block_digest`.
        what: its layers in a few words, or None where nobody told what the digest stands for.
        first_ms, second_ms: what it costs alone beyond a call, > 0.
        ratio: second_ms / first_ms.
        unusual: ratio over the median ratio; above 1 the second device is bad at it.
    """

    digest: str
    what: str | None
    first_ms: float
    second_ms: float
    ratio: float
    unusual: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceComparison:
    """The second device against the first.

    Attributes:
        num_shared: blocks measured alone on both.
        num_compared: those of them that cost at least a tenth of a call on both. The times of smaller ones are
            mostly the call's own noise, so they have no ratio.
        spearman: rank correlation of the shared blocks' times, in [-1, 1]; None for fewer than 3 blocks, or
            where all cost the same.
        median_ratio: of second / first over the compared blocks; None where there are none.
        unusual: the compared blocks whose ratio differs most from the median (in logarithms), most first.
    """

    num_shared: int
    num_compared: int
    spearman: float | None
    median_ratio: float | None
    unusual: tuple[BlockRatio, ...]


def compare_devices(
    first: DeviceFile, second: DeviceFile, *, blocks: Sequence[Block] = (), num_unusual: int = 6
) -> DeviceComparison:
    """Compare the lone times of blocks measured on both.

    Args:
        first, second: two profiles; of the same space, if much is to be shared.
        blocks: what digests may stand for, such as `blocks_to_measure` gives for a space.
        num_unusual: how many blocks to name, at most.
    """
    one, two = first.additive, second.additive
    shared = [digest for digest in one.blocks_ms if digest in two.blocks_ms]
    compared = [d for d in shared if _large_enough(one, d) and _large_enough(two, d)]
    ratios = {d: two.blocks_ms[d] / one.blocks_ms[d] for d in compared}
    median = float(np.median(list(ratios.values()))) if ratios else None
    names = {block_digest(block): describe_block(block) for block in blocks}
    rows = [
        BlockRatio(
            digest=digest,
            what=names.get(digest),
            first_ms=one.blocks_ms[digest],
            second_ms=two.blocks_ms[digest],
            ratio=ratio,
            unusual=ratio / median,
        )
        for digest, ratio in ratios.items()
        if median is not None
    ]
    rows.sort(key=lambda row: -abs(math.log(row.unusual)))
    return DeviceComparison(
        num_shared=len(shared),
        num_compared=len(compared),
        spearman=_spearman([one.blocks_ms[d] for d in shared], [two.blocks_ms[d] for d in shared]),
        median_ratio=median,
        unusual=tuple(rows[:num_unusual]),
    )


def _large_enough(table: AdditiveTable, digest: str) -> bool:
    return table.blocks_ms[digest] >= _LEAST_OF_A_CALL * table.call_ms


def _spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    if len(first) < _LEAST_RANKED or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(stats.spearmanr(first, second).statistic)
