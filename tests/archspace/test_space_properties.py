"""Properties that every search space must have, over random spaces and points."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspace import (
    ArchitectureDocument,
    Block,
    InvalidChoices,
    NasBench201Space,
    Network,
    SearchSpace,
    Shape,
    SpaceError,
    StagedSpace,
    StagedSpaceConfig,
    network_from_dict,
    network_to_dict,
    space_from_dict,
)

OPERATIONS = ("dwconv_k5", "group_conv_k3", "conv_k1", "mbconv_k3_e3", "identity", "zero")


@st.composite
def staged_configs(draw: st.DrawFn) -> dict[str, Any]:
    stages = st.fixed_dictionaries(
        {
            "channels": st.integers(1, 40),
            "layers": st.integers(1, 3),
            "stride": st.sampled_from([1, 2]),
        }
    )
    operations = draw(st.lists(st.sampled_from(OPERATIONS), unique=True, max_size=3))
    return {
        "stem_channels": draw(st.integers(1, 24)),
        "stages": draw(st.lists(stages, min_size=1, max_size=3)),
        "operations": ["dwconv_k3", *operations],
        "keep_ratios": draw(st.sampled_from([[1.0], [0.5, 1.0], [0.25, 0.5, 0.75, 1.0]])),
        "skip_connections": draw(st.booleans()),
        "early_exits": draw(st.booleans()),
        "bits": draw(st.sampled_from([[32], [32, 8], [32, 8, 4], [8], [4, 2]])),
        "channel_multiple": draw(st.sampled_from([1, 4, 8])),
    }


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    if draw(st.integers(0, 4)) == 0:
        return NasBench201Space()
    config = StagedSpaceConfig.model_validate(draw(staged_configs()))
    shape = Shape(draw(st.sampled_from([1, 3])), draw(st.integers(8, 13)), draw(st.integers(8, 13)))
    return StagedSpace(config, input_shape=shape, num_classes=draw(st.integers(2, 12)))


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(spaces(), seeds)
def test_every_prefix_can_be_completed_into_a_network_that_fits_together(
    space: SearchSpace, seed: int
) -> None:
    choices = space.sample(np.random.default_rng(seed))
    for length, decision in enumerate(space.decisions):
        mask = space.mask(choices[:length])
        assert mask.dtype == np.bool_
        assert mask.shape == (len(decision.choices),)
        assert mask.any()
        assert mask[choices[length]]
    assert space.check(choices) == choices
    network = space.resolve(choices)
    assert network.shapes[network.output] == Shape(network.num_classes, 1, 1)
    assert sum(len(block.layers) for block in network.blocks) == len(network.layers)
    for block in network.blocks:
        assert (
            block.as_network().shapes[block.layers[-1].name]
            == network.shapes[block.layers[-1].name]
        )
    assert network_from_dict(network_to_dict(network)) == network


@settings(max_examples=60, deadline=None)
@given(spaces(), seeds)
def test_mutations_and_neighbours_are_valid_and_differ(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    choices = space.sample(rng)
    changed = space.mutate(choices, rng)
    assert space.check(changed) == changed
    can_change = any(space.mask(choices[:i]).sum() > 1 for i in range(len(choices)))
    assert (changed != choices) == can_change
    neighbours = list(space.neighbours(choices))
    assert len(set(neighbours)) == len(neighbours)
    assert choices not in neighbours
    for neighbour in neighbours:
        assert space.check(neighbour) == neighbour


@settings(max_examples=60, deadline=None)
@given(spaces(), seeds)
def test_digests_collapse_exactly_where_what_is_built_is_equal(
    space: SearchSpace, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first = space.sample(rng)
    for second in [space.mutate(first, rng) for _ in range(8)]:
        a, b = space.architecture(first), space.architecture(second)
        if isinstance(space, NasBench201Space):
            assert (a.digest == b.digest) == (a.label == b.label) == (first == second)
        else:
            assert (a.digest == b.digest) == (space.resolve(first) == space.resolve(second))


@settings(max_examples=60, deadline=None)
@given(spaces(), seeds)
def test_documents_come_back_from_json(space: SearchSpace, seed: int) -> None:
    choices = space.sample(np.random.default_rng(seed))
    architecture, network = space.architecture(choices), space.resolve(choices)
    document = ArchitectureDocument(
        digest=architecture.digest,
        label=architecture.label,
        network=network.with_thresholds(tuple(0.1 for _ in network.exits)),
        space={"kind": space.kind, "digest": space.digest},
        choices=space.named(choices),
    )
    assert ArchitectureDocument.from_json(document.to_json()) == document


@settings(max_examples=60, deadline=None)
@given(spaces(), seeds)
def test_a_space_comes_back_from_its_description(space: SearchSpace, seed: int) -> None:
    again = space_from_dict(space.to_dict())
    choices = space.sample(np.random.default_rng(seed))
    assert type(again) is type(space)
    assert again.digest == space.digest
    assert again.decisions == space.decisions
    assert again.architecture(choices) == space.architecture(choices)
    assert again.encode(choices).sum() == len(space.decisions)


@settings(max_examples=40, deadline=None)
@given(spaces(), seeds)
def test_the_bound_shrinks_never_as_choices_are_made(space: SearchSpace, seed: int) -> None:
    def block_cost(block: object) -> float:
        return 1.0

    choices = space.sample(np.random.default_rng(seed))
    bounds = [space.minimum_cost(choices[:n], block_cost) for n in range(len(choices) + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == len(space.resolve(choices).blocks)


def weight(block: Block) -> float:
    return 1.0 + crc32(block.signature.encode()) / 2**32


@settings(max_examples=25, deadline=None)
@given(spaces(), seeds)
def test_costs_of_many_are_those_of_each_networks_blocks(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    choices = [space.sample(rng) for _ in range(20)]
    expected = [sum(map(weight, space.resolve(row).blocks)) for row in choices]
    assert space.total_costs(np.array(choices), weight) == pytest.approx(expected)
    usage, blocks = space.block_usage(np.array(choices))
    assert usage @ [weight(block) for block in blocks] == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(spaces(), seeds)
def test_many_prefixes_are_answered_as_each_alone(space: SearchSpace, seed: int) -> None:
    rows = space.sample_many(20, np.random.default_rng(seed))
    for row in rows.tolist():
        space.check(row)
    for made in range(len(space.decisions) + 1):
        prefixes = rows[:, :made]
        each = [tuple(row) for row in prefixes.tolist()]
        expected = [space.minimum_cost(prefix, weight) for prefix in each]
        assert space.minimum_costs(prefixes, weight) == pytest.approx(expected)
        if made < len(space.decisions):
            np.testing.assert_array_equal(
                space.masks(prefixes), [space.mask(prefix) for prefix in each]
            )
    with pytest.raises(InvalidChoices):
        space.masks(rows)
    with pytest.raises(InvalidChoices):
        space.minimum_costs(rows + 100, weight)


@settings(max_examples=25, deadline=None)
@given(spaces(), seeds)
def test_costs_up_to_each_head(space: SearchSpace, seed: int) -> None:
    choices = space.sample_many(20, np.random.default_rng(seed))
    found = space.head_costs(choices, weight)
    for row, costs in zip(choices.tolist(), found, strict=True):
        network = space.resolve(row)
        expected = [sum(map(weight, blocks)) for blocks in _blocks_up_to_heads(network)]
        assert costs[: len(expected)] == pytest.approx(expected)
        assert np.isnan(costs[len(expected) :]).all()


def _blocks_up_to_heads(network: Network) -> list[list[Block]]:
    """Blocks of a chain of blocks, up to each that holds a head."""
    heads = set(network.heads)
    ends = [
        number
        for number, block in enumerate(network.blocks, 1)
        if any(layer.name in heads for layer in block.layers)
    ]
    return [list(network.blocks[:end]) for end in ends]


@settings(max_examples=25, deadline=None)
@given(spaces(), seeds)
def test_costs_of_choices_that_are_not_valid_are_refused(space: SearchSpace, seed: int) -> None:
    choices = np.array([space.sample(np.random.default_rng(seed))] * 2)
    for wrong in (choices[:, :-1], choices[0], choices - 100, choices + 100):
        with pytest.raises(InvalidChoices):
            space.total_costs(wrong, weight)
        with pytest.raises(InvalidChoices):
            space.block_usage(wrong)
    for position, decision in enumerate(space.decisions):
        valid = space.mask(tuple(choices[1, :position]))
        for choice in np.flatnonzero(~valid):
            changed = choices.copy()
            changed[1, position] = choice
            with pytest.raises(InvalidChoices, match=decision.name):
                space.total_costs(changed, weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "darts"}, "unknown kind of space 'darts'"),
        ({"extra": 1}, "needs the fields"),
        ({"input_shape": [3, 32, 32]}, "expected channels, height and width"),
        ({"input_shape": {"channels": 3, "height": 32}}, "expected channels, height and width"),
    ],
)
def test_bad_descriptions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        space_from_dict({**NasBench201Space().to_dict(), **change})
