"""A teacher, fewer channels and fewer bits in one training."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from child_models import (
    ChildModule,
    Dataset,
    TrainingConfig,
    count_params,
)
from compress import CompressionError, TrainedModel
from compress.deployed import deployed_file
from compress.distillation.combined_loss import distil_loss
from compress.distillation.config import DistilConfig
from compress.joint import JointConfig, compress_jointly, group_lasso
from compress.pruning.groups import ChannelGroup, channel_groups
from compress.pruning.surgery import masked, remove_channels
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.quantise import quantise

GENTLE = TrainingConfig(learning_rate=0.01)


def test_group_lasso_is_its_formula() -> None:
    group = ChannelGroup(size=2, producers=("a",), depthwise=("b",))
    parameters = {
        "layers.a.conv.weight": nn.Parameter(torch.tensor([[3.0], [0.0]]).reshape(2, 1, 1, 1)),
        "layers.b.conv.weight": nn.Parameter(torch.tensor([[4.0], [2.0]]).reshape(2, 1, 1, 1)),
    }
    assert float(group_lasso(parameters, [group]).detach()) == pytest.approx(2**0.5 * (5 + 2))


@pytest.mark.slow
def test_all_at_once_is_small_rounded_and_right(trained: TrainedModel, data: Dataset) -> None:
    config = JointConfig(
        epochs=6, keep_params=0.6, multiple=1, quantisation=QuantiseConfig(mode="qat")
    )

    def teach(module: ChildModule) -> object:
        return distil_loss(
            module, trained.network, trained, data, DistilConfig(), GENTLE, epochs=6, seed=0
        )

    done = compress_jointly(trained, data, config, GENTLE, seed=0, teach=teach)  # type: ignore[arg-type]
    assert count_params(done.model.network) <= 0.6 * count_params(trained.network)
    assert deployed_file(done.model).runs == "int8"
    assert done.penalty_at_pruning is not None
    assert done.penalty_at_pruning < done.penalty_before
    before = trained.accuracy(data.validation, data)
    assert done.model.accuracy(data.validation, data) > before - 0.06
    again = compress_jointly(trained, data, config, GENTLE, seed=0, teach=teach)  # type: ignore[arg-type]
    for name, array in done.model.weights.items():
        np.testing.assert_array_equal(array, again.model.weights[name])


def test_taking_masked_channels_out_changes_nothing(trained: TrainedModel, data: Dataset) -> None:
    """Of a rounded network, too: its grids go with the channels."""
    groups = channel_groups(trained.network)
    kept = [
        [i for i in range(g.size) if i % g.block_length < (g.block_length + 1) // 2] for g in groups
    ]
    zeroed = TrainedModel.of(trained.network, masked(trained, groups, kept))
    rounded = quantise(zeroed, data, QuantiseConfig(), GENTLE, seed=0).model
    small = remove_channels(rounded, groups, kept)
    assert small.quantisation is not None
    for big, left in zip(
        rounded.logits(data.validation, data), small.logits(data.validation, data), strict=True
    ):
        np.testing.assert_allclose(left, big, atol=1e-4)


def test_without_pruning_or_bits_it_is_plain_training(trained: TrainedModel, data: Dataset) -> None:
    done = compress_jointly(trained, data, JointConfig(epochs=2, keep_params=None), GENTLE, seed=0)
    assert done.penalty_at_pruning is None
    assert count_params(done.model.network) == count_params(trained.network)


def test_what_cannot_be_reached_is_said_before_training(
    trained: TrainedModel, data: Dataset
) -> None:
    fail = functools.partial(pytest.fail, "trained")
    with pytest.raises(CompressionError, match="cannot be reached"):
        compress_jointly(
            trained,
            data,
            JointConfig(epochs=2, keep_params=0.01),
            GENTLE,
            seed=0,
            on_epoch=lambda _done, _loss: fail(),
        )
