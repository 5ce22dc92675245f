"""Distilling as a whole: it helps, it repeats itself, it is training alone where the teacher does not count."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archspace import Network
from child_models import (
    ChildModule,
    Dataset,
    NonFiniteTraining,
    TrainingConfig,
    train_child,
    weight_shapes,
)
from compress import (
    AlphaConfig,
    AlphaMix,
    DistilConfig,
    FixedMix,
    HardExamples,
    PairError,
    Stage,
    TrainedModel,
    distil,
    three_stages,
)
from compress.distillation import losses

NOTHING = FixedMix(hard=0, soft=0, feature=0, attention=0)
EVERYTHING = FixedMix(
    hard=0.5, soft=0.3, feature=0.15, attention=0.05, rkd_distance=0.1, rkd_angle=0.2
)


def only(**weights: float) -> DistilConfig:
    """One stage with these weights and no others."""
    return DistilConfig(stages=(Stage(mix=NOTHING.model_copy(update=weights)),))


def same(first: TrainedModel, second: TrainedModel) -> bool:
    return all(np.array_equal(array, second.weights[n]) for n, array in first.weights.items())


def test_a_student_learns_more_with_its_teacher(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    alone = train_child(student, digits, training, epochs=6, seed=1)
    taught = distil(student, teacher, digits, only(soft=1), training, epochs=6, seed=1)
    ours = taught.model.accuracy(digits.validation, digits)
    assert teacher.accuracy(digits.validation, digits) > ours
    assert taught.epochs[-1].size("soft") < 0.7 * taught.epochs[0].size("soft")
    assert ours > 0.5
    agreement = _agreement(taught.model, teacher, digits)
    assert agreement > _agreement(TrainedModel.of(student, alone.weights), teacher, digits)


def _agreement(model: TrainedModel, teacher: TrainedModel, dataset: Dataset) -> float:
    """−KL(teacher ‖ model) on validation images at T = 4."""
    ours, theirs = (
        torch.from_numpy(m.logits(dataset.validation, dataset)[-1]) for m in (model, teacher)
    )
    return -float(losses.soft_targets(ours, theirs, 4.0))


def test_labels_alone_are_training_alone_bit_for_bit(
    digits: Dataset, student_with_exit: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    alone = train_child(student_with_exit, digits, training, epochs=2, seed=3)
    taught = distil(student_with_exit, teacher, digits, only(hard=1), training, epochs=2, seed=3)
    assert same(taught.model, TrainedModel.of(student_with_exit, alone.weights))
    assert taught.losses == alone.losses
    thresholds = tuple(exit_.threshold for exit_ in taught.model.network.exits)
    assert thresholds == alone.exit_choice.thresholds


def test_equal_seeds_give_equal_weights_whatever_the_caller_does(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    config = DistilConfig(stages=(Stage(mix=EVERYTHING),), hard_examples=HardExamples())
    torch.manual_seed(1)
    first = distil(student, teacher, digits, config, training, epochs=1, seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = distil(student, teacher, digits, config, training, epochs=1, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert same(first.model, second.model)
    assert first.epochs == second.epochs
    other = distil(student, teacher, digits, config, training, epochs=1, seed=6)
    assert not same(first.model, other.model)


def test_nothing_of_teacher_and_adapters_is_left(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    prepared: list[ChildModule] = []

    def remember(module: ChildModule) -> ChildModule:
        prepared.append(module)
        return module

    taught = distil(
        student,
        teacher,
        digits,
        DistilConfig(),
        training,
        epochs=1,
        seed=0,
        prepare=remember,
    )
    assert {n: a.shape for n, a in taught.model.weights.items()} == weight_shapes(student)
    assert not any(module._forward_hooks for module in prepared[0].modules())


class _Rounded(torch.autograd.Function):
    """Rounds to sixteenths; the gradient passes (straight-through estimator)."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return (x * 16).round() / 16

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def test_a_rounded_student_learns_from_an_exact_teacher(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    def rounded(module: ChildModule) -> ChildModule:
        for layer in module.layers.values():
            layer.register_forward_hook(lambda _m, _i, output: _Rounded.apply(output))
        return module

    plain = distil(student, teacher, digits, DistilConfig(), training, epochs=3, seed=0)
    taught = distil(
        student, teacher, digits, DistilConfig(), training, epochs=3, seed=0, prepare=rounded
    )
    assert not same(plain.model, taught.model)
    assert taught.losses[-1] < 0.95 * taught.losses[0]


def test_a_trained_student_goes_on_from_its_weights(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    first = distil(student, teacher, digits, only(soft=1), training, epochs=4, seed=0)
    gentle = training.model_copy(update={"learning_rate": 1e-6, "weight_decay": 0.0})
    second = distil(first.model, teacher, digits, only(soft=1), gentle, epochs=1, seed=1)
    name = "layers.n0.conv.weight"
    assert np.allclose(first.model.weights[name], second.model.weights[name], atol=1e-3)
    assert second.epochs[0].size("soft") < 1.05 * first.epochs[-1].size("soft")


def test_bf16_learns_and_compares_in_float32(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    config = DistilConfig(stages=(Stage(mix=EVERYTHING),))
    full, half = (
        distil(
            student, teacher, digits, config, training, epochs=1, seed=0, precision=precision
        ).epochs[0]
        for precision in ("fp32", "bf16")
    )
    for ours, theirs in zip(full.terms, half.terms, strict=True):
        assert ours.size == pytest.approx(theirs.size, rel=0.15)
        assert ours.size != theirs.size
    with pytest.raises(ValueError, match="needs a GPU"):
        distil(student, teacher, digits, config, training, epochs=1, seed=0, precision="fp16")


def test_steps_that_are_not_finite_are_skipped_and_counted(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    passes = 0

    def breaks_every_fourth_pass(module: ChildModule) -> ChildModule:
        def spoil(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            nonlocal passes
            passes += 1
            return output * math.inf if passes % 4 == 0 else output

        module.layers[student.output].register_forward_hook(spoil)
        return module

    taught = distil(
        student,
        teacher,
        digits,
        DistilConfig(),
        training,
        epochs=2,
        seed=0,
        prepare=breaks_every_fourth_pass,
    )
    assert passes == 34
    assert taught.skipped == 8
    assert all(math.isfinite(term.size) for log in taught.epochs for term in log.terms)

    def breaks_always(module: ChildModule) -> ChildModule:
        module.layers[student.output].register_forward_hook(lambda _m, _i, o: o * math.nan)
        return module

    with pytest.raises(NonFiniteTraining, match="no step of epoch 1"):
        distil(
            student,
            teacher,
            digits,
            DistilConfig(),
            training,
            epochs=1,
            seed=0,
            prepare=breaks_always,
        )


def test_what_a_worker_needs_is_plain_data(
    digits: Dataset,
    student: Network,
    teacher: TrainedModel,
    training: TrainingConfig,
    tmp_path: Path,
) -> None:
    config = DistilConfig(stages=(Stage(mix=AlphaMix(attention=1)),), views=1)
    arguments = (student, teacher, digits, config, training)
    here = distil(*arguments, epochs=1, seed=0, cache_dir=tmp_path / "here")
    carried = pickle.loads(pickle.dumps(arguments))  # as Ray does between processes
    there = pickle.loads(
        pickle.dumps(distil(*carried, epochs=1, seed=0, cache_dir=tmp_path / "there"))
    )
    assert same(here.model, there.model)
    assert here.epochs == there.epochs


def test_what_does_not_fit_is_refused(
    digits: Dataset,
    student: Network,
    teacher: TrainedModel,
    training: TrainingConfig,
    make_network: Callable[..., Network],
) -> None:
    def run(config: DistilConfig, other: TrainedModel = teacher, epochs: int = 1) -> None:
        distil(student, other, digits, config, training, epochs=epochs, seed=0)

    with pytest.raises(ValueError, match="no cache_dir; give one, or set views: 0"):
        run(DistilConfig(views=1))
    with pytest.raises(ValueError, match="3 stages need at least 3 epochs, got 2"):
        run(DistilConfig(stages=three_stages()), epochs=2)
    with pytest.raises(PairError, match="attention needs maps of more than one pixel"):
        run(DistilConfig(pairs={student.output: teacher.network.output}))
    eight = replace(
        make_network(4),
        num_classes=8,
        layers=tuple(
            replace(layer, out_channels=8) if layer.op == "linear" else layer
            for layer in make_network(4).layers
        ),
    )
    weights = {n: np.zeros(shape, np.float32) for n, shape in weight_shapes(eight).items()}
    with pytest.raises(ValueError, match="the teacher knows classes 8, student and data have 10"):
        run(DistilConfig(), TrainedModel.of(eight, weights))


def test_alpha_one_ignores_the_labels(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    mix = AlphaMix(alpha=AlphaConfig(early=1, late=1))
    taught = distil(
        student, teacher, digits, DistilConfig(stages=(Stage(mix=mix),)), training, epochs=1, seed=0
    )
    plain = distil(student, teacher, digits, only(soft=1), training, epochs=1, seed=0)
    assert same(taught.model, plain.model)
    assert [term.term for term in taught.epochs[0].terms] == ["soft"]
