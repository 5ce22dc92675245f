"""The loop with other precisions and devices, and images from fixed views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from archspace import Network
from child_models import AugmentationConfig, Dataset, DigitsConfig, TrainingConfig, load_data
from child_models.batches import Batch, TrainingBatches, ViewBatches
from child_models.fitting import Fitted, Moment, finite_weights, fit
from child_models.precision import Precision, chosen_precision
from child_models.training import fresh_module, heads_loss

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainingConfig(batch_size=32)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DigitsConfig())


def _fit(
    network: Network,
    dataset: Dataset,
    precision: Precision,
    *,
    epochs: int = 1,
    factor: float = 1.0,
    device: str = "cpu",
) -> tuple[Fitted, dict[str, np.ndarray]]:
    module = fresh_module(network, 0).to(device)

    def loss(heads: tuple[Tensor, ...], batch: Batch, _moment: Moment) -> Tensor:
        assert all(head.dtype == torch.float32 for head in heads)
        return factor * heads_loss(heads, batch.labels, CONFIG)

    batches = TrainingBatches.of(dataset, CONFIG, 0)
    fitted = fit(module, batches, CONFIG, loss, epochs=epochs, precision=precision)
    return fitted, finite_weights(module)


def test_fp16_finds_its_scale_and_counts_what_it_skips(
    digits: Dataset, residual_network: Network
) -> None:
    # a loss this large overflows in float16 until the scale has been halved often enough
    loud, weights = _fit(residual_network, digits, "fp16", epochs=2, factor=4096.0)
    assert 0 < loud.skipped < 20
    assert loud.losses[1] < loud.losses[0]
    assert all(array.dtype == np.float32 for array in weights.values())


def test_fp16_and_fp32_agree_at_first(digits: Dataset, residual_network: Network) -> None:
    half, _ = _fit(residual_network, digits, "fp16")
    full, _ = _fit(residual_network, digits, "fp32")
    assert full.skipped == 0
    assert half.losses[0] == pytest.approx(full.losses[0], rel=0.05)


def test_fp16_is_for_gpus(residual_network: Network) -> None:
    with pytest.raises(ValueError, match='on a CPU use "bf16"'):
        chosen_precision("fp16", residual_network)
    assert chosen_precision("fp16", residual_network, "cuda") == "fp16"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_too(digits: Dataset, residual_network: Network, precision: Precision) -> None:
    here, _ = _fit(residual_network, digits, "fp32", epochs=3)
    there, weights = _fit(residual_network, digits, precision, epochs=3, device="cuda")
    assert there.losses[0] == pytest.approx(here.losses[0], rel=0.1)
    assert there.losses[-1] < there.losses[0]
    assert all(np.isfinite(array).all() for array in weights.values())


def test_each_image_stands_once_in_an_epoch_of_a_view(digits: Dataset) -> None:
    batches = ViewBatches(
        digits, AugmentationConfig(shift=1), batch_size=100, channels_last=True, seed=0, views=2
    )
    for view in (0, 1, 0):
        epoch = list(batches.epoch())
        assert {batch.view for batch in epoch} == {view}
        assert len(epoch) == batches.steps
        indices = np.concatenate([batch.indices for batch in epoch])
        assert sorted(indices) == list(range(len(digits.train)))
        labels = np.concatenate([batch.labels.numpy() for batch in epoch])
        assert np.array_equal(labels, digits.train.labels[indices])
    with pytest.raises(ValueError, match="views: expected at least 1, got 0"):
        ViewBatches(digits, AugmentationConfig(), batch_size=9, channels_last=True, seed=0, views=0)
