"""Weights that all networks of a space share: who uses which part, and what training and inheriting make of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import Dataset, TrainingConfig, build_module, load_data
from child_models.datasets import DigitsConfig
from child_models.supernet.config import SupernetConfig
from child_models.supernet.inheriting import inherit
from child_models.supernet.shared_weights import SharedWeights, UnknownLayer
from child_models.supernet.training import at_width, blocks_of, run_shared, train_supernet

pytestmark = pytest.mark.usefixtures("one_thread")
TWO_EPOCHS = SupernetConfig(epochs=2, sandwich=True)


@pytest.fixture(scope="module")
def space() -> StagedSpace:
    config = StagedSpaceConfig(
        kind="staged",
        stem_channels=8,
        stages=(
            StageConfig(channels=16, layers=2, stride=1),
            StageConfig(channels=24, layers=1, stride=2),
        ),
        operations=("dwconv_k3", "dwconv_k5", "group_conv_k3", "mbconv_k3_e2", "conv_k3", "identity", "zero"),
        early_exits=True,
    )  # fmt: skip
    return StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    data = load_data(DigitsConfig())
    return replace(data, train=replace(data.train, images=data.train.images[:256], labels=data.train.labels[:256]))  # fmt: skip


def drawn(space: StagedSpace, seed: int) -> Network:
    return space.resolve(space.sample(np.random.default_rng(seed)))


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_network_runs_on_shared_weights_as_its_own_module_does(
    space: StagedSpace, seed: int
) -> None:
    network, weights = drawn(space, seed), SharedWeights(blocks_of(space), 0)
    parameters = weights.of(network)
    module = build_module(network)
    missing, unexpected = module.load_state_dict(parameters, strict=False)
    assert not unexpected
    assert all("running" in name or "batches" in name for name in missing)
    for ours, own in zip(
        run_shared(network, parameters, images()), module.train()(images()), strict=True
    ):
        torch.testing.assert_close(ours, own)


def test_a_narrow_layer_has_the_first_channels_of_the_wide_one(space: StagedSpace) -> None:
    choices = space.sample(np.random.default_rng(3))
    weights = SharedWeights(blocks_of(space), 0)
    wide = weights.of(space.resolve(at_width(space, choices, widest=True)))
    narrow = weights.of(space.resolve(at_width(space, choices, widest=False)))
    assert wide.keys() == narrow.keys()
    smaller = 0
    for name, part in narrow.items():
        smaller += part.shape < wide[name].shape
        if part.ndim == 4 and part.shape[2:] == wide[name].shape[2:]:
            assert torch.equal(part, wide[name][: part.shape[0], : part.shape[1]])
    assert smaller > 0


def test_gradients_of_two_networks_add_up_in_what_they_share(space: StagedSpace) -> None:
    weights = SharedWeights(blocks_of(space), 0)
    networks = [drawn(space, seed) for seed in (1, 2)]
    apart = []
    for network in networks:
        run_shared(network, weights.of(network), images())[-1].square().sum().backward()
        apart.append(gradients(weights))
        for tensor in weights.tensors.values():
            tensor.grad = None
    for network in networks:
        run_shared(network, weights.of(network), images())[-1].square().sum().backward()
    both = gradients(weights)
    assert set(apart[0]) & set(apart[1])
    for name, gradient in both.items():
        expected = sum(part[name] for part in apart if name in part)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def gradients(weights: SharedWeights) -> dict[str, NDArray[np.float32]]:
    return {
        name: t.grad.numpy().copy() for name, t in weights.tensors.items() if t.grad is not None
    }


def test_initial_weights_depend_on_seed_and_name_alone(space: StagedSpace) -> None:
    first, second = SharedWeights(blocks_of(space), 4), SharedWeights(blocks_of(space), 4)
    other = SharedWeights(blocks_of(space), 5)
    for seed in range(10):
        first.of(drawn(space, seed))
    for seed in reversed(range(10)):
        second.of(drawn(space, seed))
        other.of(drawn(space, seed))
    ours, same, different = first.arrays(), second.arrays(), other.arrays()
    assert ours.keys() == same.keys()
    assert all(np.array_equal(ours[name], same[name]) for name in ours)
    assert any(not np.array_equal(ours[name], different[name]) for name in ours)


def test_equal_networks_share_all_whatever_decisions_led_to_them(space: StagedSpace) -> None:
    names = [decision.name for decision in space.decisions]

    def network(first: str, second: str) -> Network:
        choices: list[int] = []
        for name, decision in zip(names, space.decisions, strict=True):
            valid = np.flatnonzero(space.mask(choices)).tolist()
            wanted = {"stage1.layer0.op": first, "stage1.layer1.op": second}.get(name)
            choices.append(decision.choices.index(wanted) if wanted else valid[-1])
        return space.resolve(choices)

    early, late = network("identity", "dwconv_k3"), network("dwconv_k3", "identity")
    assert early.digest == late.digest
    weights = SharedWeights(blocks_of(space), 0)
    ours, theirs = weights.of(early), weights.of(late)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_network_of_another_space_is_refused(space: StagedSpace) -> None:
    wider = StagedSpaceConfig(
        kind="staged", stem_channels=64, stages=(StageConfig(channels=8, layers=1, stride=1),)
    )
    other = StagedSpace(wider, input_shape=Shape(1, 8, 8), num_classes=10)
    with pytest.raises(UnknownLayer, match="64"):
        SharedWeights(blocks_of(space), 0).of(drawn(other, 0))


def test_training_goes_on_after_an_interruption_bit_for_bit(
    space: StagedSpace, digits: Dataset, tmp_path: Path
) -> None:
    whole = train_supernet(space, digits, TrainingConfig(), TWO_EPOCHS)
    state = tmp_path / "supernet.safetensors"

    def stop(epoch: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_supernet(space, digits, TrainingConfig(), TWO_EPOCHS, state=state, on_epoch=stop)
    epochs = []
    resumed = train_supernet(
        space,
        digits,
        TrainingConfig(),
        TWO_EPOCHS,
        state=state,
        on_epoch=lambda e, _: epochs.append(e),
    )
    assert epochs == [2]
    read = train_supernet(space, digits, TrainingConfig(), TWO_EPOCHS, state=state)
    for other in (resumed, read):
        ours, theirs = whole.arrays(), other.arrays()
        assert list(ours) == list(theirs)
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_state_of_another_training_is_refused(
    space: StagedSpace, digits: Dataset, tmp_path: Path
) -> None:
    state = tmp_path / "supernet.safetensors"
    train_supernet(space, digits, TrainingConfig(), SupernetConfig(epochs=1), state=state)
    with pytest.raises(ValueError, match="another training"):
        train_supernet(space, digits, TrainingConfig(seed=1), SupernetConfig(epochs=1), state=state)


def test_a_damaged_state_is_refused(space: StagedSpace, digits: Dataset, tmp_path: Path) -> None:
    state, settings = tmp_path / "supernet.safetensors", SupernetConfig(epochs=1)
    train_supernet(space, digits, TrainingConfig(), settings, state=state)
    whole = state.read_bytes()
    for content, fault in (
        (whole[:-9], "cannot be read"),
        (whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], "not as it was written"),
    ):
        state.write_bytes(content)
        with pytest.raises(ValueError, match=fault):
            train_supernet(space, digits, TrainingConfig(), settings, state=state)


def test_inherited_weights_know_more_than_new_ones(space: StagedSpace) -> None:
    data = load_data(DigitsConfig())
    narrowed = space.config.model_copy(update={"operations": ("dwconv_k3",), "early_exits": False})
    space = StagedSpace(narrowed, input_shape=space.input_shape, num_classes=space.num_classes)
    weights = train_supernet(space, data, TrainingConfig(), SupernetConfig(epochs=8))
    new = SharedWeights(blocks_of(space), 0)
    networks = [drawn(space, seed) for seed in range(6)]
    trained = [
        inherit(each, weights, data, TrainingConfig()).exit_choice.accuracy for each in networks
    ]
    untrained = [
        inherit(each, new, data, TrainingConfig()).exit_choice.accuracy for each in networks
    ]
    assert np.mean(trained) > np.mean(untrained) + 0.2


def test_inheriting_measures_statistics_of_its_own_and_moves_nothing(
    space: StagedSpace, digits: Dataset
) -> None:
    weights = train_supernet(space, digits, TrainingConfig(), TWO_EPOCHS)
    before = weights.arrays()
    network = drawn(space, 5)
    found, again = (inherit(network, weights, digits, TrainingConfig()) for _ in range(2))
    assert all(np.array_equal(found.weights[name], again.weights[name]) for name in found.weights)
    after = weights.arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    means = [array for name, array in found.weights.items() if name.endswith("running_mean")]
    assert any(np.abs(mean).max() > 1e-3 for mean in means)
