"""The loop, recalibrated BatchNorm, and single weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archspace import Network, Shape
from child_models import Dataset, TrainingConfig, count_macs, count_params
from child_models.scoring import loaded_module
from compress import CompressionError, TrainedModel
from compress.batch_norm import recalibrate
from compress.pruning.config import PruneConfig
from compress.pruning.prune import Round, prune
from compress.pruning.unstructured import (
    magnitude_masks,
    sparsity_of,
    tune_masked,
    with_masks,
)
from tests.compress.pruning.pruning_networks import layer, random_model

GENTLE = TrainingConfig(learning_rate=0.003)


def test_rounds_reach_the_target_and_training_mends(trained: TrainedModel, digits: Dataset) -> None:
    told: list[tuple[Round, int]] = []
    config = PruneConfig(method="l1", keep_params=0.5, rounds=2, epochs=3)
    done = prune(trained, digits, config, GENTLE, seed=0, on_round=lambda r, n: told.append((r, n)))
    assert count_params(done.model.network) <= 0.5 * count_params(trained.network)
    assert count_params(done.model.network) >= 0.35 * count_params(trained.network)
    assert [number for _, number in told] == [1, 2]
    assert all(each.accuracy > each.accuracy_pruned for each in done.rounds)
    assert done.model.accuracy(digits.validation, digits) == done.rounds[-1].accuracy
    assert not done.returned


def test_a_round_that_loses_too_much_is_undone(trained: TrainedModel, digits: Dataset) -> None:
    config = PruneConfig(
        method="random", channels=0.85, rounds=3, epochs=0, schedule="linear", max_drop=0.02
    )
    done = prune(trained, digits, config, GENTLE, seed=0)
    assert done.returned
    assert done.rounds[-1].accuracy < done.accuracy_before - 0.02
    kept = [each for each in done.rounds if each.kept]
    expected = kept[-1].num_params if kept else count_params(trained.network)
    assert count_params(done.model.network) == expected


def test_multiply_accumulates_can_be_the_target(trained: TrainedModel, digits: Dataset) -> None:
    config = PruneConfig(method="l2", keep_macs=0.6, rounds=1, epochs=0)
    done = prune(trained, digits, config, GENTLE, seed=0)
    assert count_macs(done.model.network) <= 0.6 * count_macs(trained.network)


def test_what_cannot_be_reached_is_said(trained: TrainedModel, digits: Dataset) -> None:
    with pytest.raises(CompressionError, match=r"keep_params: 0\.01 cannot be reached"):
        prune(trained, digits, PruneConfig(method="l1", keep_params=0.01), GENTLE, seed=0)
    flat = Network(
        input_shape=Shape(1, 8, 8),
        num_classes=10,
        output="logits",
        layers=(
            layer("pool", "global_avg_pool", "input", (1, 1)),
            layer("logits", "linear", "pool", (1, 10)),
        ),
    )
    with pytest.raises(CompressionError, match="nothing in this network can be pruned"):
        prune(random_model(flat), digits, PruneConfig(), GENTLE, seed=0)


def test_recalibrated_statistics_are_those_of_the_data(
    mixed: TrainedModel, digits: Dataset
) -> None:
    found = recalibrate(mixed, digits, images=10_000)
    module = loaded_module(mixed.network, mixed.weights)
    images = torch.from_numpy(digits.normalise(digits.train.images))
    maps = module.layers["stem"].conv(images)
    np.testing.assert_allclose(
        found.weights["layers.stem.norm.running_mean"],
        maps.mean(dim=(0, 2, 3)).detach().numpy(),
        atol=1e-3,
    )
    for name, array in mixed.weights.items():
        if "running" not in name:
            np.testing.assert_array_equal(found.weights[name], array)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_masks_leave_the_largest_weights(mixed: TrainedModel, scope: str) -> None:
    masks = magnitude_masks(mixed, 0.75, scope=scope)  # type: ignore[arg-type]
    sparse = with_masks(mixed, masks)
    assert sparsity_of(sparse) == pytest.approx(0.75, abs=0.01)
    for name, mask in masks.items():
        assert mask.any()
        size = np.abs(mixed.weights[name])
        if not mask.all() and scope == "layer":
            assert size[mask].min() >= size[~mask].max()


def test_masked_weights_stay_zero_while_others_learn(
    trained: TrainedModel, digits: Dataset
) -> None:
    masks = magnitude_masks(trained, 0.6)
    sparse = with_masks(trained, masks)
    tuned = tune_masked(trained, masks, digits, GENTLE, epochs=2, seed=0)
    assert sparsity_of(tuned) >= 0.6 - 0.01
    assert all((tuned.weights[name][~mask] == 0).all() for name, mask in masks.items())
    before = sparse.accuracy(digits.validation, digits)
    assert tuned.accuracy(digits.validation, digits) > before


def test_sparsity_out_of_range_is_refused(mixed: TrainedModel) -> None:
    with pytest.raises(ValueError, match="at least 0 and less than 1, got 1"):
        magnitude_masks(mixed, 1.0)
