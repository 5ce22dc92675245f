"""Hard limits: what the masks leave can hold them, and what they take away cannot."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspace import Choices, NasBench201Space, Network, SearchSpace, StagedSpace
from child_models import count_bytes, count_macs, count_params
from envs import CostBounds, LimitedSpace
from evaluation import LimitsConfig
from tests.search.strategy_toys import OVERHEAD_MS, ToyCostModel, toy_bounds, toy_space

SPACE = toy_space()


def all_points(space: SearchSpace) -> list[Choices]:
    points: list[Choices] = [()]
    for _ in space.decisions:
        points = [(*p, int(v)) for p in points for v in np.flatnonzero(space.mask(p))]
    return points


POINTS = all_points(SPACE)


def latency_ms(network: Network) -> float:
    return ToyCostModel().predict([network])[0].latency_ms[-1].value


LATENCIES = np.array([latency_ms(SPACE.resolve(point)) for point in POINTS])


@pytest.mark.parametrize("quantile", [0.02, 0.3, 0.9])
def test_exactly_the_points_within_the_limit_remain(quantile: float) -> None:
    limit = float(np.quantile(LATENCIES, quantile)) + 1e-9
    limited = LimitedSpace(toy_bounds(SPACE, latency_ms=limit))
    expected = [p for p, latency in zip(POINTS, LATENCIES, strict=True) if latency <= limit]
    assert all_points(limited) == expected


def test_if_nothing_fits_the_cheapest_completion_stays() -> None:
    limited = LimitedSpace(toy_bounds(SPACE, latency_ms=LATENCIES.min() / 2))
    remaining = all_points(limited)
    assert len(remaining) == 1
    assert latency_ms(SPACE.resolve(remaining[0])) == pytest.approx(LATENCIES.min())


def test_the_margin_and_the_overhead_count() -> None:
    class Careful(ToyCostModel):
        @property
        def latency_margin(self) -> float:
            return 0.5

    bounds = CostBounds(SPACE, Careful(), LimitsConfig(latency_ms=1.0))
    point = POINTS[-1]
    blocks = SPACE.resolve(point).blocks
    expected = (OVERHEAD_MS + math.fsum(map(Careful().block_latency_ms, blocks))) * 1.5
    assert bounds.bound(bounds.terms[0], point) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({"num_params": 900.0}, count_params),
        ({"size_bytes": 3600.0}, count_params),
        ({"macs": 40_000.0}, count_macs),
    ],
)
def test_counts_are_exact(limits: dict[str, float], count: object) -> None:
    limited = LimitedSpace(toy_bounds(SPACE, **limits))
    number = limits.get("num_params", limits.get("macs", 900.0))
    remaining = all_points(limited)
    assert 0 < len(remaining) < len(POINTS)
    assert callable(count)
    expected = [p for p in POINTS if count(SPACE.resolve(p)) <= number]
    assert remaining == expected


def test_fewer_bits_hold_a_limit_on_size() -> None:
    config = SPACE.config.model_copy(update={"bits": (32, 8, 2)})
    space = StagedSpace(config, input_shape=SPACE.input_shape, num_classes=SPACE.num_classes)
    limited = LimitedSpace(toy_bounds(space, size_bytes=900.0))
    rng = np.random.default_rng(0)
    sizes = [count_bytes(space.resolve(space.sample(rng))) for _ in range(100)]
    kept = [count_bytes(space.resolve(limited.sample(rng))) for _ in range(100)]
    assert min(sizes) <= 900 < max(sizes)
    assert max(kept) <= 900
    # what a policy sees does not depend on whether size has a limit
    free = toy_bounds(space).features(np.empty((1, 0), dtype=np.intp))
    bound = limited.bounds.features(np.empty((1, 0), dtype=np.intp))
    assert np.array_equal(free, bound)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5), st.floats(0.01, 1.0))
@settings(max_examples=15, deadline=None)
def test_masks_of_many_prefixes_are_those_of_each(seed: int, latency: float, energy: float) -> None:
    limited = LimitedSpace(toy_bounds(SPACE, latency_ms=latency, energy_mj=energy))
    rows = limited.sample_many(16, np.random.default_rng(seed))
    for made in range(len(SPACE.decisions)):
        each = [limited.mask(tuple(row)) for row in rows[:, :made].tolist()]
        np.testing.assert_array_equal(limited.masks(rows[:, :made]), each)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.5), st.floats(0.01, 1.0))
@settings(max_examples=15, deadline=None)
def test_every_prefix_can_be_completed_under_several_limits(
    seed: int, latency: float, energy: float
) -> None:
    limited = LimitedSpace(toy_bounds(SPACE, latency_ms=latency, energy_mj=energy))
    rng = np.random.default_rng(seed)
    point = limited.sample(rng)
    SPACE.check(point)
    limited.check(point)
    limited.check(limited.mutate(point, rng))
    for neighbour in itertools.islice(limited.neighbours(point), 3):
        SPACE.check(neighbour)


def test_without_a_cost_model_nothing_is_masked() -> None:
    bounds = CostBounds(SPACE, None, LimitsConfig(latency_ms=1e-6))
    assert bounds.terms == ()
    assert not bounds.features(np.empty((1, 0), dtype=int))[0].any()
    limited = LimitedSpace(bounds)
    for prefix in ((), POINTS[0][:3]):
        np.testing.assert_array_equal(limited.mask(prefix), SPACE.mask(prefix))


def test_features_are_shares_of_the_limit_or_of_the_largest() -> None:
    bounds = toy_bounds(SPACE, energy_mj=0.1)
    largest = POINTS[int(np.argmax(LATENCIES))]
    latency, energy, params, macs = bounds.features(np.array([largest]))[0]
    assert latency == pytest.approx(1.0)
    expected = ToyCostModel().predict([SPACE.resolve(largest)])[0].energy_mj[-1].value / 0.1
    assert energy == pytest.approx(min(expected, 10.0), rel=1e-5)
    assert 0 < params <= 1
    assert 0 < macs <= 1
    start = bounds.features(np.empty((1, 0), dtype=int))[0]
    assert start[0] == pytest.approx(LATENCIES.min() / LATENCIES.max())
    assert start.dtype == np.float32


def test_a_returned_mask_may_be_changed() -> None:
    limited = LimitedSpace(toy_bounds(SPACE))
    limited.mask(())[:] = False
    assert limited.mask(()).any()


def test_nasbench201_takes_limits_too() -> None:
    space = NasBench201Space()
    limited = LimitedSpace(CostBounds(space, ToyCostModel(), LimitsConfig(macs=30e6)))
    rng = np.random.default_rng(0)
    macs = [count_macs(space.resolve(limited.sample(rng))) for _ in range(8)]
    assert max(macs) <= 30e6
    assert count_macs(space.resolve((3,) * 6)) > 30e6


def test_the_limited_space_describes_the_space_itself() -> None:
    limited = LimitedSpace(toy_bounds(SPACE))
    assert isinstance(limited.unlimited, StagedSpace)
    assert limited.digest == SPACE.digest
    assert limited.to_dict() == SPACE.to_dict()
    assert limited.size() == SPACE.size()
    assert limited.architecture(POINTS[0]) == SPACE.architecture(POINTS[0])
