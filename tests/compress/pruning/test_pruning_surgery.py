"""Which channels go together, and that a network without them is the one whose channels were masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import count_params
from child_models.scoring import loaded_module
from compress import TrainedModel
from compress.pruning.groups import ChannelGroup, channel_groups
from compress.pruning.surgery import masked, remove_channels
from tests.compress.pruning.pruning_networks import layer, mixed_network, random_model


def some_channels(group: ChannelGroup, rng: np.random.Generator) -> list[int]:
    """A random choice that keeps equally many channels of each block."""
    count = rng.integers(1, group.block_length + 1)
    return sorted(
        int(block * group.block_length + i)
        for block in range(group.blocks)
        for i in rng.choice(group.block_length, count, replace=False)
    )


def outputs(model: TrainedModel, weights: object = None) -> list[np.ndarray]:
    module = loaded_module(model.network, model.weights if weights is None else weights)  # type: ignore[arg-type]
    images = torch.from_numpy(
        np.random.default_rng(1).standard_normal((9, *model.network.input_shape), dtype=np.float32)
    )
    with torch.inference_mode():
        return [head.numpy() for head in module(images)]


def test_groups_are_what_the_network_couples() -> None:
    assert channel_groups(mixed_network()) == (
        ChannelGroup(
            size=16,
            producers=("stem", "point"),
            depthwise=("deep",),
            consumers=("point", "grouped"),
            blocks=4,
        ),
        ChannelGroup(
            size=24,
            producers=("grouped",),
            norms=("norm",),
            consumers=("strided", "early"),
            blocks=4,
        ),
        ChannelGroup(size=32, producers=("strided",), consumers=("last",), blocks=8),
        ChannelGroup(size=32, producers=("last",), consumers=("logits",), blocks=8),
    )


def test_channels_that_are_the_answer_are_not_pruned() -> None:
    block = Network(
        input_shape=Shape(3, 8, 8),
        num_classes=8,
        output="out",
        layers=(
            layer("inner", "conv", "input", (3, 6), kernel=3, padding=1, norm=True),
            layer("out", "conv", "inner", (6, 8), norm=True),
        ),
    )
    assert [group.producers for group in channel_groups(block)] == [("inner",)]


@pytest.mark.parametrize("seed", range(5))
def test_the_pruned_network_is_the_masked_one(mixed: TrainedModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = channel_groups(mixed.network)
    kept = [some_channels(group, rng) for group in groups]
    small = remove_channels(mixed, groups, kept)
    same = zip(outputs(small), outputs(mixed, masked(mixed, groups, kept)), strict=True)
    for pruned, big in same:
        # sums over fewer channels are rounded elsewhere
        np.testing.assert_allclose(pruned, big, rtol=0, atol=1e-6)
    assert count_params(small.network) <= count_params(mixed.network)
    assert (
        np.abs(outputs(mixed)[-1] - outputs(small)[-1]).max() > 1e-3
        or small.network == mixed.network
    )


def test_inner_convolutions_are_equal_to_the_bit(mixed: TrainedModel) -> None:
    groups = channel_groups(mixed.network)
    kept = [[i for i in range(g.size) if i % g.block_length < g.block_length // 2] for g in groups]
    small, big = remove_channels(mixed, groups, kept), masked(mixed, groups, kept)
    seen: dict[str, list[torch.Tensor]] = {"small": [], "big": []}
    for name, module in (
        ("small", loaded_module(small.network, small.weights)),
        ("big", loaded_module(mixed.network, big)),
    ):
        module.layers["stem"].register_forward_hook(
            lambda _m, _i, out, name=name: seen[name].append(out.clone())
        )
        module(torch.ones(2, 1, 8, 8))
    assert torch.equal(seen["small"][0], seen["big"][0][:, kept[0]])


def test_every_network_of_a_space_can_be_pruned() -> None:
    config = StagedSpaceConfig(
        kind="staged",
        stem_channels=8,
        stages=(
            StageConfig(channels=16, layers=2, stride=1),
            StageConfig(channels=24, layers=2, stride=2),
        ),
        skip_connections=True,
        early_exits=True,
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=4)
    rng = np.random.default_rng(0)
    for _ in range(12):
        network = space.resolve(space.sample(rng))
        model = random_model(network)
        groups = channel_groups(network)
        kept = [some_channels(group, rng) for group in groups]
        small = remove_channels(model, groups, kept)
        expected = outputs(model, masked(model, groups, kept))
        for pruned, big in zip(outputs(small), expected, strict=True):
            np.testing.assert_allclose(pruned, big, rtol=0, atol=1e-5)


def test_channels_that_do_not_fit_are_refused(mixed: TrainedModel) -> None:
    groups = channel_groups(mixed.network)
    whole = [list(range(group.size)) for group in groups]
    with pytest.raises(ValueError, match="blocks must keep equally many"):
        remove_channels(mixed, groups, [whole[0][:-1], *whole[1:]])
    with pytest.raises(ValueError, match="at least one"):
        remove_channels(mixed, groups, [[], *whole[1:]])
    with pytest.raises(ValueError, match="expected ascending channels from 0 to 15"):
        remove_channels(mixed, groups, [[0, 0, 4, 8, 12], *whole[1:]])
    with pytest.raises(ValueError, match="for 4 groups, got 3"):
        remove_channels(mixed, groups, whole[1:])


def test_as_many_groups_as_outputs_are_not_depthwise() -> None:
    """8 outputs, one a group of two inputs: inputs go in pairs, so that every group keeps one; outputs stay."""
    network = Network(
        input_shape=Shape(3, 8, 8),
        num_classes=4,
        output="logits",
        layers=(
            layer("wide", "conv", "input", (3, 16), kernel=3, padding=1, norm=True),
            layer("narrow", "conv", "wide", (16, 8), groups=8, norm=True, activation="relu"),
            layer("pool", "global_avg_pool", "narrow", (8, 8)),
            layer("logits", "linear", "pool", (8, 4)),
        ),
    )
    (group,) = channel_groups(network)
    assert (group.producers, group.consumers, group.blocks) == (("wide",), ("narrow",), 8)
    model, kept = random_model(network), [[1, 2, 4, 7, 9, 10, 13, 14]]
    small = remove_channels(model, [group], kept)
    expected = outputs(model, masked(model, [group], kept))
    np.testing.assert_allclose(outputs(small)[0], expected[0], atol=1e-6)


def test_channels_added_to_the_image_stay() -> None:
    network = Network(
        input_shape=Shape(3, 8, 8),
        num_classes=4,
        output="logits",
        layers=(
            layer("inner", "conv", "input", (3, 6), kernel=3, padding=1, activation="relu"),
            layer("back", "conv", "inner", (6, 3)),
            layer("sum", "add", "input back", (3, 3)),
            layer("pool", "global_avg_pool", "sum", (3, 3)),
            layer("logits", "linear", "pool", (3, 4)),
        ),
    )
    assert [group.producers for group in channel_groups(network)] == [("inner",)]
