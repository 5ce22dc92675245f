"""Distilling as a whole: it helps, it repeats itself, it is training alone where the teacher does not count."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
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
from child_models.batches import Batch
from child_models.fitting import Moment
from child_models.training import fresh_module, heads_loss
from compress import (
    AlphaConfig,
    AlphaMix,
    DistilConfig,
    Distilled,
    FixedMix,
    HardExamples,
    PairError,
    Stage,
    SteppedTemperature,
    TrainedModel,
    distil,
    distil_loss,
    three_stages,
    tune,
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


def test_kept_answers_train_as_the_teacher_itself(
    digits: Dataset,
    student: Network,
    teacher: TrainedModel,
    training: TrainingConfig,
    tmp_path: Path,
) -> None:
    config = only(hard=0.5, soft=0.5).model_copy(update={"views": 2})

    def run() -> Distilled:
        return distil(
            student, teacher, digits, config, training, epochs=2, seed=0, cache_dir=tmp_path
        )

    first = run()
    (folder,) = tmp_path.iterdir()
    assert same(first.model, run().model)  # the first one wrote, the second one reads
    # the same batches with the teacher at hand
    module = fresh_module(student, 0)
    model = TrainedModel.of(student, teacher_free_weights(module))
    with distil_loss(
        module, student, teacher, digits, config, training, epochs=2, seed=0, cache_dir=tmp_path
    ) as loss:
        live = tune(
            model,
            digits,
            training,
            epochs=2,
            seed=0,
            module=module,
            batches=loss.batches,
            loss=_live_soft(teacher, training),
        )
    assert live.fitted.losses == pytest.approx(first.losses, rel=1e-3)
    assert folder.is_dir()


def teacher_free_weights(module: ChildModule) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def _live_soft(
    teacher: TrainedModel, training: TrainingConfig
) -> Callable[[tuple[torch.Tensor, ...], Batch, Moment], torch.Tensor]:
    """½ CE + ½ KD at T = 4, written out again."""
    from child_models.scoring import loaded_module

    module = loaded_module(teacher.network, teacher.weights)

    def loss(heads: tuple[torch.Tensor, ...], batch: Batch, _moment: Moment) -> torch.Tensor:
        with torch.no_grad():
            wanted = (module(batch.images)[-1] / 4).softmax(1)
        said = (heads[-1] / 4).log_softmax(1)
        divergence = (wanted * (wanted.log() - said)).sum(1).mean()
        return 0.5 * heads_loss(heads, batch.labels, training) + 0.5 * 16 * divergence

    return loss


def test_logs_say_what_counted_when(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    config = DistilConfig(stages=three_stages(), temperature=SteppedTemperature())
    taught = distil(student, teacher, digits, config, training, epochs=5, seed=0)
    assert [log.epoch for log in taught.epochs] == [0, 1, 2, 3, 4]
    assert [log.stage for log in taught.epochs] == [0, 1, 2, 2, 2]
    assert [log.temperature for log in taught.epochs] == [4, 3, 2, 2, 2]
    names = [tuple(term.term for term in log.terms) for log in taught.epochs]
    assert names[0] == ("feature",)
    assert names[1] == ("attention", "rkd_distance", "rkd_angle")
    assert names[2:] == [("hard", "soft")] * 3
    for log, loss in zip(taught.epochs, taught.losses, strict=True):
        assert all(term.size > 0 and term.gradient_norm > 0 for term in log.terms)
        if log.stage < 2:  # constant weights: the loss is the weighted sum of the sizes
            total = sum(term.weight * term.size for term in log.terms)
            assert total == pytest.approx(loss, rel=1e-2)
    assert math.isnan(taught.epochs[0].size("hard"))
    alpha = [log.terms[1].weight for log in taught.epochs[2:]]
    assert 0.4 < alpha[0] < alpha[1] < alpha[2] < 0.8


def test_gradient_norms_are_of_the_students_parameters(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    module = fresh_module(student, 0)
    config = only(soft=1)
    with distil_loss(module, student, teacher, digits, config, training, epochs=1, seed=0) as loss:
        batch = next(iter(loss.batches.epoch()))
        value = loss(module(batch.images), batch, Moment(0, loss.batches.steps, 0, 1))
        value.backward()
        (log,) = loss.logs()
    squares = sum(float(p.grad.square().sum()) for p in module.parameters() if p.grad is not None)
    assert log.terms[0].gradient_norm == pytest.approx(math.sqrt(squares), rel=1e-5)


def test_every_head_learns_from_the_teachers_last(
    digits: Dataset, student_with_exit: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    module = fresh_module(student_with_exit, 0)
    with distil_loss(
        module, student_with_exit, teacher, digits, only(soft=1), training, epochs=1, seed=0
    ) as loss:
        batch = next(iter(loss.batches.epoch()))
        heads = module(batch.images)
        value = loss(heads, batch, Moment(0, loss.batches.steps, 0, 1))
    from compress.distillation.teacher import LiveTeacher

    wanted = LiveTeacher(teacher, [])(batch).logits
    early, final = (losses.soft_targets(head, wanted, 4.0) for head in heads)
    expected = final + training.exit_loss_weight * early
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_hard_examples_count_more(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    config = only(hard=1).model_copy(update={"hard_examples": HardExamples(cap=2)})
    module = fresh_module(student, 0)
    with distil_loss(module, student, teacher, digits, config, training, epochs=1, seed=0) as loss:
        batch = next(iter(loss.batches.epoch()))
        heads = module(batch.images)
        value = loss(heads, batch, Moment(0, loss.batches.steps, 0, 1))
    from compress.distillation.teacher import LiveTeacher

    weights = losses.hard_example_weights(LiveTeacher(teacher, [])(batch).logits, 2)
    each = torch.nn.functional.cross_entropy(
        heads[-1], batch.labels, label_smoothing=training.label_smoothing, reduction="none"
    )
    assert float(value.detach()) == pytest.approx(float((each * weights).mean().detach()))
    assert float(value.detach()) != pytest.approx(float(each.mean().detach()))


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


def test_adapters_are_trained_beside_the_student(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    module = fresh_module(student, 0)
    model = TrainedModel.of(student, teacher_free_weights(module))
    with distil_loss(
        module, student, teacher, digits, only(feature=1), training, epochs=1, seed=0
    ) as loss:
        before = [parameter.detach().clone() for parameter in loss.parameters()]
        assert [tuple(p.shape) for p in before if p.ndim == 4] == [(16, 4, 1, 1), (32, 8, 1, 1)]
        tune(
            model,
            digits,
            training,
            epochs=1,
            seed=0,
            loss=loss,
            module=module,
            batches=loss.batches,
            more_parameters=loss.parameters(),
        )
        after = loss.parameters()
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


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
    from dataclasses import replace

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


def test_logits_may_be_paired_as_vectors(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    config = only(hard=1, feature=1).model_copy(
        update={"pairs": {student.output: teacher.network.output, "n1": "n1"}}
    )
    taught = distil(student, teacher, digits, config, training, epochs=2, seed=0)
    assert taught.epochs[1].size("feature") < taught.epochs[0].size("feature")


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
