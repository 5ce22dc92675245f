"""From scores to the channels that stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compress.pruning.groups import ChannelGroup

Ranking = Literal["global", "uniform"]


def channels_kept(
    groups: Sequence[ChannelGroup],
    scores: Sequence[NDArray[np.float64]],
    count: int,
    *,
    ranking: Ranking,
    multiple: int = 1,
    least_share: float = 0.0,
) -> list[list[int]]:
    """For each group the channels that stay, ascending, so that about `count` channels stay in all.

    Channels of a block go in the order of their scores, ties by number, and all blocks of a group lose equally many.
    "global" compares scores between groups, each divided by its group's mean; "uniform" takes the same share of every
    group. Rounding may leave a few channels more than `count`.

    Args:
        scores: (size,) a group, finite, larger for channels that matter more.
        count: of all groups together, 0 to the sum of sizes.
        multiple: groups that lose channels keep a multiple of it where their size allows.
        least_share: of its channels that each group keeps at least; one a block in any case.
    """
    total = sum(group.size for group in groups)
    if not 0 <= count <= total:
        raise ValueError(f"expected 0 to {total} channels to stay, got {count}")
    orders = [_order(group, values) for group, values in zip(groups, scores, strict=True)]
    if ranking == "uniform":
        lengths = [group.block_length * count / total for group in groups]
    else:
        lengths = _by_score(groups, scores, orders, count)
    kept = []
    for group, order, length in zip(groups, orders, lengths, strict=True):
        rows = _rounded(group, length, multiple, least_share)
        # (blocks, block length): numbers within a block, the most important first
        chosen = order[:, :rows] + group.block_length * np.arange(group.blocks)[:, None]
        kept.append(sorted(chosen.ravel().tolist()))
    return kept


def _order(group: ChannelGroup, scores: NDArray[np.float64]) -> NDArray[np.intp]:
    if scores.shape != (group.size,) or not np.isfinite(scores).all():
        raise ValueError(
            f"{group.producers[0]}: expected {group.size} finite scores, got shape {scores.shape}"
        )
    blocks = scores.reshape(group.blocks, group.block_length)
    return np.argsort(-blocks, axis=1, kind="stable")


def _by_score(
    groups: Sequence[ChannelGroup],
    scores: Sequence[NDArray[np.float64]],
    orders: Sequence[NDArray[np.intp]],
    count: int,
) -> list[float]:
    """Channels a block that stay: the best rows over all groups, a row being one channel of each block."""
    rows: list[tuple[float, int, int]] = []
    for number, (group, values, order) in enumerate(zip(groups, scores, orders, strict=True)):
        blocks = values.reshape(group.blocks, group.block_length)
        means = np.take_along_axis(blocks, order, axis=1).mean(axis=0) / max(values.mean(), 1e-30)
        # the first row of each group stays: a group may not vanish
        rows += [(np.inf if row == 0 else float(s), number, row) for row, s in enumerate(means)]
    rows.sort(key=lambda row: (-row[0], row[1], row[2]))
    lengths = [0] * len(groups)
    left = count
    for score, number, _row in rows:
        if left <= 0 and not np.isinf(score):
            break
        lengths[number] += 1
        left -= groups[number].blocks
    return [float(length) for length in lengths]


def _rounded(group: ChannelGroup, length: float, multiple: int, least_share: float) -> int:
    """Channels a block: all, or at least one and the group's total a multiple where that is possible."""
    length = max(length, least_share * group.block_length)
    if length >= group.block_length:
        return group.block_length
    step = int(multiple // np.gcd(multiple, group.blocks))
    most = group.block_length // step * step
    if most:
        return min(most, max(step, step * round(length / step)))
    return min(group.block_length, max(1, round(length)))  # too small for a multiple
