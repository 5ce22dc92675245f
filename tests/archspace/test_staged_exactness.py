"""Sizes and cheapest completions of small staged spaces against brute force."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from archspace import Block, BlockCost, Choices, SearchSpace, Shape, StagedSpace, StagedSpaceConfig

SMALL: dict[str, dict[str, Any]] = {
    "one stage, ratios that collapse": {
        "stages": [{"channels": 16, "layers": 2}],
        "operations": ["dwconv_k3", "identity", "zero"],
    },
    "stride 1 twice, exits, no skips": {
        "stages": [{"channels": 16, "layers": 2}, {"channels": 32, "layers": 1}],
        "operations": ["conv_k1", "conv_k3", "identity"],
        "keep_ratios": [0.5, 1.0],
        "skip_connections": False,
    },
    "three stages, exits": {
        "stages": [
            {"channels": 16, "layers": 1},
            {"channels": 16, "layers": 1, "stride": 2},
            {"channels": 16, "layers": 1},
        ],
        "operations": ["dwconv_k3", "identity", "zero"],
        "keep_ratios": [0.5, 1.0],
    },
    "bits, float32 too": {
        "stages": [{"channels": 16, "layers": 1}, {"channels": 24, "layers": 1}],
        "operations": ["dwconv_k3", "identity", "zero"],
        "keep_ratios": [0.5, 1.0],
        "bits": [32, 8, 4],
    },
    "vanishing only by zero": {
        "stages": [{"channels": 16, "layers": 2}, {"channels": 24, "layers": 1}],
        "operations": ["mbconv_k3_e2", "zero"],
        "keep_ratios": [0.4, 1.0],
    },
    "nothing vanishes": {
        "stages": [{"channels": 24, "layers": 2}, {"channels": 24, "layers": 1, "stride": 2}],
        "operations": ["dwconv_k3", "group_conv_k3"],
        "keep_ratios": [0.5, 1.0],
    },
}


@pytest.fixture(params=SMALL)
def space(request: pytest.FixtureRequest) -> StagedSpace:
    config = StagedSpaceConfig.model_validate(SMALL[request.param])
    return StagedSpace(config, input_shape=Shape(3, 8, 8), num_classes=4)


def all_points(space: SearchSpace, prefix: Choices = ()) -> Iterator[Choices]:
    if len(prefix) == len(space.decisions):
        yield prefix
        return
    for choice, valid in enumerate(space.mask(prefix)):
        if valid:
            yield from all_points(space, (*prefix, choice))


def pseudo_random_cost(salt: str, low: float) -> BlockCost:
    """A number in [low, 1) that depends on nothing but the block's signature."""

    def cost(block: Block) -> float:
        number = hashlib.sha256((salt + block.signature).encode()).digest()[:6]
        return low + (1 - low) * int.from_bytes(number) / 2**48

    return cost


def test_size_counts_sequences_and_distinct_networks(space: StagedSpace) -> None:
    points = list(all_points(space))
    networks = {space.resolve(point) for point in points}
    size = space.size()
    assert size.sequences == len(points)
    assert size.distinct_low == size.distinct_high == len(networks)
    assert len({network.digest for network in networks}) == len(networks)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_minimum_cost_is_that_of_the_cheapest_completion(space: StagedSpace, low: float) -> None:
    block_cost = pseudo_random_cost("salt", low)
    expected: dict[Choices, float] = {}
    for point in all_points(space):
        total = math.fsum(block_cost(block) for block in space.resolve(point).blocks)
        for length in range(len(point) + 1):
            prefix = point[:length]
            expected[prefix] = min(expected.get(prefix, math.inf), total)
    for prefix, cost in expected.items():
        assert space.minimum_cost(prefix, block_cost) == pytest.approx(cost, abs=1e-12)


def test_cheapest_reaches_the_minimum(space: StagedSpace) -> None:
    block_cost = pseudo_random_cost("other", -0.5)
    best = space.resolve(space.cheapest(block_cost))
    total = math.fsum(block_cost(block) for block in best.blocks)
    assert total == pytest.approx(space.minimum_cost((), block_cost))


def test_costs_are_asked_once_a_block_and_kept_by_function() -> None:
    config = StagedSpaceConfig.model_validate(SMALL["nothing vanishes"])
    space = StagedSpace(config, input_shape=Shape(3, 8, 8), num_classes=4)

    class Model:
        calls: list[str] = []  # noqa: RUF012

        def cost(self, block: Block) -> float:
            self.calls.append(block.signature)
            return 1.0

    model = Model()
    for point in itertools.islice(all_points(space), 20):
        space.minimum_cost(point[:3], model.cost)  # each read of a bound method is a new object
    assert len(model.calls) == len(set(model.calls)) > 0
    assert space.minimum_cost((), model.cost) == 5.0  # stem, three layers, head
    assert space.minimum_cost((), lambda _: 2.0) == 10.0


def test_a_cost_that_is_not_a_number_is_refused(space: StagedSpace) -> None:
    with pytest.raises(ValueError, match="NaN for block"):
        space.minimum_cost((), lambda _: math.nan)


def test_a_large_space_is_counted_and_bounded_quickly() -> None:
    stages = [
        {"channels": c, "layers": 6, "stride": s} for c, s in ((32, 1), (64, 2), (128, 2), (128, 1))
    ]
    names = ("dwconv_k3", "dwconv_k5", "group_conv_k3", "mbconv_k3_e3", "conv_k3")
    config = StagedSpaceConfig.model_validate(
        {"stages": stages, "operations": [*names, "identity", "zero"]}
    )
    space = StagedSpace(config, input_shape=Shape(3, 32, 32), num_classes=10)
    start = time.process_time()
    size = space.size()
    assert 10**30 < size.distinct_low == size.distinct_high < size.sequences
    assert time.process_time() - start < 5

    def block_cost(block: Block) -> float:
        return float(len(block.layers))

    space.minimum_cost((), block_cost)
    prefix = space.cheapest(block_cost)[:40]
    start = time.process_time()
    for _ in range(1000):
        space.minimum_cost(prefix, block_cost)
    assert time.process_time() - start < 1  # under 1 ms each
