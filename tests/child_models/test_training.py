"""The training loop: it learns, it repeats itself exactly, it stops where it must."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from archspace import Network
from child_models import (
    AugmentationConfig,
    Dataset,
    DigitsConfig,
    NonFiniteTraining,
    TrainingConfig,
    WeightMismatch,
    apply_exits,
    evaluate_network,
    load_data,
    train_child,
    weight_shapes,
)
from child_models.batches import TrainingBatches
from child_models.datasets.base import Split, make_dataset
from child_models.fitting import learning_rate_factor
from child_models.precision import bf16_pays, chosen_precision

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainingConfig()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DigitsConfig())


def _some_digits(digits: Dataset, count: int) -> Dataset:
    splits = {
        name: Split(images=split.images[:count], labels=split.labels[:count] % 10)
        for name, split in (
            ("train", digits.train),
            ("validation", digits.validation),
            ("test", digits.test),
        )
    }
    return make_dataset("few", splits, digits.class_names, AugmentationConfig())


def test_a_small_network_learns_digits(digits: Dataset, residual_network: Network) -> None:
    config = CONFIG.model_copy(update={"batch_size": 16})
    trained = train_child(residual_network, digits, config, epochs=8, seed=0)
    choice = trained.exit_choice
    assert choice.accuracy_no_exit > 0.6
    assert choice.accuracy >= choice.accuracy_no_exit - CONFIG.max_exit_drop - 1e-9
    assert sum(choice.shares) == pytest.approx(1)
    assert len(trained.losses) == trained.epochs_run == 8
    assert trained.losses[-1] < 0.8 * trained.losses[0]
    assert trained.train_seconds > 0
    assert {name: array.shape for name, array in trained.weights.items()} == weight_shapes(
        residual_network
    )


def test_weights_give_the_reported_accuracy(digits: Dataset, residual_network: Network) -> None:
    trained = train_child(residual_network, digits, CONFIG, epochs=2, seed=0)
    logits = evaluate_network(residual_network, trained.weights, digits.validation, digits)
    assert [head.shape for head in logits] == [(len(digits.validation), 10)] * 2
    left = apply_exits(logits, trained.exit_choice.thresholds)
    accuracy = (left.predictions == digits.validation.labels).mean()
    assert accuracy == trained.exit_choice.accuracy
    in_one = evaluate_network(
        residual_network, trained.weights, digits.validation, digits, batch_size=1000
    )
    assert np.allclose(in_one[-1], logits[-1], atol=1e-5)


def test_equal_seeds_give_equal_weights_whatever_the_caller_does(
    digits: Dataset, residual_network: Network
) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = train_child(residual_network, digits, CONFIG, epochs=1, seed=5)
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    second = train_child(residual_network, digits, CONFIG, epochs=1, seed=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert first.losses == second.losses
    for name, array in first.weights.items():
        assert np.array_equal(array, second.weights[name]), name
    other = train_child(residual_network, digits, CONFIG, epochs=1, seed=6)
    assert other.losses != first.losses


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
        {"channels_last": False, "clip_norm": None},
        {"precision": "bf16"},
    ],
)
def test_other_settings_learn_too(
    digits: Dataset, residual_network: Network, settings: dict[str, object]
) -> None:
    config = TrainingConfig.model_validate({"batch_size": 16, **settings})
    trained = train_child(residual_network, digits, config, epochs=3, seed=0)
    assert trained.exit_choice.accuracy_no_exit > 0.25
    assert trained.precision == ("bf16" if config.precision == "bf16" else "fp32")
    assert all(array.dtype == np.float32 for array in trained.weights.values())


def test_memory_format_changes_rounding_only(digits: Dataset, residual_network: Network) -> None:
    plain = CONFIG.model_copy(update={"channels_last": False})
    first, second = (
        train_child(residual_network, digits, config, epochs=1, seed=0).losses[0]
        for config in (CONFIG, plain)
    )
    assert first == pytest.approx(second, rel=0.02)


def test_hooks_see_every_step_and_may_stop(digits: Dataset, residual_network: Network) -> None:
    steps: list[tuple[int, int]] = []
    epochs: list[int] = []
    train_child(
        residual_network,
        digits,
        CONFIG,
        epochs=2,
        seed=0,
        on_step=lambda step, total: steps.append((step, total)),
        on_epoch=lambda epoch, loss: epochs.append(epoch if math.isfinite(loss) else -1),
    )
    an_epoch = math.ceil(len(digits.train) / CONFIG.batch_size)
    assert steps == [(i + 1, 2 * an_epoch) for i in range(2 * an_epoch)]
    assert epochs == [1, 2]

    def stop(step: int, total: int) -> None:
        raise TimeoutError(f"{step}/{total}")

    with pytest.raises(TimeoutError, match="1/17"):
        train_child(residual_network, digits, CONFIG, epochs=1, seed=0, on_step=stop)


def test_divergence_is_an_error(digits: Dataset, residual_network: Network) -> None:
    wild = TrainingConfig(
        optimizer="sgd", learning_rate=10, clip_norm=None, warmup=0, weight_decay=10
    )
    with pytest.raises(NonFiniteTraining, match=r"became (nan|inf|-inf) in step|holds NaN"):
        train_child(residual_network, digits, wild, epochs=20, seed=0)


def test_a_last_batch_of_one_image_is_spread(digits: Dataset, residual_network: Network) -> None:
    few = _some_digits(digits, 65)
    batches = TrainingBatches(few, AugmentationConfig(), batch_size=64, channels_last=True, seed=0)
    assert [len(batch.labels) for batch in batches.epoch()] == [33, 32]
    trained = train_child(residual_network, few, CONFIG, epochs=1, seed=0)
    assert np.isfinite(trained.losses[0])


def test_batches_hold_each_image_once_and_normalised(digits: Dataset) -> None:
    batches = TrainingBatches(
        digits, AugmentationConfig(), batch_size=100, channels_last=True, seed=0
    )
    first = list(batches.epoch())
    assert len(first) == batches.steps
    for images, labels, *_ in first:
        assert images.shape[1:] == (1, 8, 8)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert len(labels) <= 100
    expected = digits.normalise(digits.train.images)
    seen = np.concatenate([batch.images.numpy() for batch in first])
    assert np.allclose(np.sort(seen.sum((1, 2, 3))), np.sort(expected.sum((1, 2, 3))), atol=1e-2)
    again = [batch.labels.tolist() for batch in batches.epoch()]
    assert again != [batch.labels.tolist() for batch in first]


def test_read_only_arrays_are_enough(digits: Dataset, residual_network: Network) -> None:
    few = _some_digits(digits, 100)
    for split in (few.train, few.validation):
        split.images.flags.writeable = split.labels.flags.writeable = False
    trained = train_child(residual_network, few, CONFIG, epochs=1, seed=0)
    assert trained.epochs_run == 1


@given(total=st.integers(1, 500), warmup=st.floats(0, 0.99))
def test_learning_rate_rises_then_falls(total: int, warmup: float) -> None:
    factors = [learning_rate_factor(step, total, warmup) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_learning_rate_by_hand() -> None:
    assert learning_rate_factor(0, 100, 0.1) == pytest.approx(1 / 11)
    assert learning_rate_factor(10, 100, 0.1) == 1
    assert learning_rate_factor(55, 100, 0.1) == pytest.approx(0.5)


def test_precision_is_decided_by_the_network(
    residual_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen_precision("bf16", residual_network) == "bf16"
    monkeypatch.setattr("child_models.precision.cpu_has_bf16", lambda: True)
    assert not bf16_pays(residual_network)  # depthwise
    assert chosen_precision("auto", residual_network) == "fp32"
    wide = _plain_convolutions(residual_network)
    assert bf16_pays(wide)
    assert chosen_precision("auto", wide) == "bf16"
    monkeypatch.setattr("child_models.precision.cpu_has_bf16", lambda: False)
    assert chosen_precision("auto", wide) == "fp32"


def _plain_convolutions(template: Network) -> Network:
    """Two wide 3×3 convolutions on 16×16 maps."""
    from archspace import INPUT, Layer, Shape

    def conv(name: str, source: str, channels: int) -> Layer:
        return Layer(
            name=name,
            op="conv",
            inputs=(source,),
            block="b",
            in_channels=channels,
            out_channels=64,
            kernel=3,
            padding=1,
        )

    return Network(
        input_shape=Shape(3, 16, 16),
        num_classes=template.num_classes,
        layers=(conv("a", INPUT, 3), conv("c", "a", 64)),
        output="c",
    )


def test_what_does_not_fit_is_refused(digits: Dataset, residual_network: Network) -> None:
    with pytest.raises(ValueError, match="epochs: expected at least 1"):
        train_child(residual_network, digits, CONFIG, epochs=0, seed=0)
    with pytest.raises(ValueError, match="seed"):
        train_child(residual_network, digits, CONFIG, epochs=1, seed=-1)
    images = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    split = Split(images=images, labels=np.array([0, 1, 0, 1]))
    colour = make_dataset(
        "colour",
        {"train": split, "validation": split, "test": split},
        ("a", "b"),
        AugmentationConfig(),
    )
    with pytest.raises(
        ValueError, match=r"the network is for \(1, 8, 8\) .* colour has \(3, 8, 8\)"
    ):
        train_child(residual_network, colour, CONFIG, epochs=1, seed=0)
    with pytest.raises(WeightMismatch):
        evaluate_network(residual_network, {}, digits.validation, digits)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        TrainingConfig.model_validate({"learning_rte": 0.1})
