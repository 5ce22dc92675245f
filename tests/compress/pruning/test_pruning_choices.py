"""Schedules, and which channels stay."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compress.pruning.config import PruneConfig
from compress.pruning.groups import ChannelGroup
from compress.pruning.schedules import ScheduleName, pruned_share
from compress.pruning.selection import channels_kept

SCHEDULES: list[ScheduleName] = ["one_shot", "linear", "cubic", "exponential"]


@given(st.sampled_from(SCHEDULES), st.integers(1, 50), st.floats(0, 1))
def test_schedules_grow_and_hit_both_ends(
    schedule: ScheduleName, rounds: int, largest: float
) -> None:
    shares = [pruned_share(schedule, done, rounds, largest) for done in range(rounds + 1)]
    assert shares[0] == 0
    assert shares[-1] == largest
    assert all(a <= b + 1e-12 for a, b in pairwise(shares))


def test_schedules_are_their_formulas() -> None:
    assert pruned_share("linear", 1, 4, 0.8) == pytest.approx(0.2)
    assert pruned_share("cubic", 1, 2, 0.8) == pytest.approx(0.8 * (1 - 0.125))
    expected = 0.5 * (1 - math.exp(-0.3)) / (1 - math.exp(-0.9))
    assert pruned_share("exponential", 1, 3, 0.5) == pytest.approx(expected)
    assert pruned_share("one_shot", 1, 3, 0.5) == 0.5
    with pytest.raises(ValueError, match="expected 0 to 3 rounds"):
        pruned_share("linear", 4, 3, 0.5)


def group(size: int, blocks: int = 1) -> ChannelGroup:
    return ChannelGroup(size=size, producers=(f"c{size}",), blocks=blocks)


def test_the_lowest_scores_go_first_over_all_groups() -> None:
    scores = [np.array([1.0, 9.0, 2.0, 8.0]), np.array([5.0, 5.0])]  # means 5 and 5
    kept = channels_kept([group(4), group(2)], scores, 4, ranking="global")
    assert kept == [[1, 3], [0, 1]]


def test_uniform_takes_the_same_share_everywhere() -> None:
    scores = [np.arange(8.0), 100 + np.arange(4.0)]
    kept = channels_kept([group(8), group(4)], scores, 6, ranking="uniform")
    assert kept == [[4, 5, 6, 7], [2, 3]]


def test_blocks_lose_equally_many() -> None:
    scores = [np.array([5.0, 1.0, 2.0, 6.0, 7.0, 0.0, 0.0, 0.0])]
    assert channels_kept([group(8, blocks=2)], scores, 4, ranking="global") == [[0, 3, 4, 5]]


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 6)), min_size=1, max_size=5),
    st.floats(0, 1),
    st.integers(1, 8),
    st.sampled_from(["global", "uniform"]),
    st.integers(0, 2**31),
)
def test_every_group_keeps_what_it_must(
    sizes: list[tuple[int, int]], share: float, multiple: int, ranking: str, seed: int
) -> None:
    groups = [group(length * blocks, blocks) for length, blocks in sizes]
    rng = np.random.default_rng(seed)
    scores = [rng.random(g.size) for g in groups]
    count = round(share * sum(g.size for g in groups))
    kept = channels_kept(groups, scores, count, ranking=ranking, multiple=multiple)  # type: ignore[arg-type]
    for g, indices in zip(groups, kept, strict=True):
        counts = np.bincount(np.array(indices) // g.block_length, minlength=g.blocks)
        assert (counts == counts[0]).all()
        assert counts[0] >= 1
        assert indices == sorted(set(indices))
        step = multiple // math.gcd(multiple, g.blocks)
        if g.block_length >= step and len(indices) < g.size:
            assert len(indices) % multiple == 0


def test_equal_scores_go_by_number() -> None:
    assert channels_kept([group(4)], [np.ones(4)], 2, ranking="global") == [[0, 1]]


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="4 finite scores"):
        channels_kept([group(4)], [np.array([1, np.nan, 1, 1])], 2, ranking="global")


def test_one_target_is_enough() -> None:
    assert PruneConfig().target == ("keep_params", 0.5)
    assert PruneConfig(channels=0.3).target == ("channels", 0.3)
    with pytest.raises(ValidationError, match="expected one of"):
        PruneConfig(channels=0.3, keep_macs=0.5)
