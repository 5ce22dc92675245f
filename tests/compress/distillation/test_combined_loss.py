"""The loss of a distillation alone: what its terms are, what is logged, and the adapters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from archspace import Network
from child_models import ChildModule, Dataset, TrainingConfig
from child_models.batches import Batch
from child_models.fitting import Moment
from child_models.scoring import loaded_module
from child_models.training import fresh_module, heads_loss
from compress import (
    DistilConfig,
    Distilled,
    FixedMix,
    HardExamples,
    Stage,
    SteppedTemperature,
    TrainedModel,
    distil,
    distil_loss,
    three_stages,
    tune,
)
from compress.distillation import losses
from compress.distillation.teacher import LiveTeacher

NOTHING = FixedMix(hard=0, soft=0, feature=0, attention=0)


def only(**weights: float) -> DistilConfig:
    """One stage with these weights and no others."""
    return DistilConfig(stages=(Stage(mix=NOTHING.model_copy(update=weights)),))


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
    weights = losses.hard_example_weights(LiveTeacher(teacher, [])(batch).logits, 2)
    each = torch.nn.functional.cross_entropy(
        heads[-1], batch.labels, label_smoothing=training.label_smoothing, reduction="none"
    )
    assert float(value.detach()) == pytest.approx(float((each * weights).mean().detach()))
    assert float(value.detach()) != pytest.approx(float(each.mean().detach()))


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


def test_adapters_are_trained_beside_the_student(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    module = fresh_module(student, 0)
    model = TrainedModel.of(student, weights_of(module))
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


def test_logits_may_be_paired_as_vectors(
    digits: Dataset, student: Network, teacher: TrainedModel, training: TrainingConfig
) -> None:
    config = only(hard=1, feature=1).model_copy(
        update={"pairs": {student.output: teacher.network.output, "n1": "n1"}}
    )
    taught = distil(student, teacher, digits, config, training, epochs=2, seed=0)
    assert taught.epochs[1].size("feature") < taught.epochs[0].size("feature")


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
    model = TrainedModel.of(student, weights_of(module))
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


def weights_of(module: ChildModule) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def _live_soft(
    teacher: TrainedModel, training: TrainingConfig
) -> Callable[[tuple[torch.Tensor, ...], Batch, Moment], torch.Tensor]:
    """½ CE + ½ KD at T = 4, written out again."""
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


def same(first: TrainedModel, second: TrainedModel) -> bool:
    return all(np.array_equal(array, second.weights[n]) for n, array in first.weights.items())


def test_a_loss_is_used_with_its_own_batches_and_epochs(
    digits: Dataset,
    student: Network,
    teacher: TrainedModel,
    training: TrainingConfig,
    tmp_path: Path,
) -> None:
    module = fresh_module(student, 0)
    model = TrainedModel.of(student, weights_of(module))
    config = only(soft=1).model_copy(update={"views": 1})
    with distil_loss(
        module, student, teacher, digits, config, training, epochs=2, seed=0, cache_dir=tmp_path
    ) as loss:
        with pytest.raises(ValueError, match=r"batches=loss\.batches"):
            tune(model, digits, training, epochs=2, seed=0, module=module, loss=loss)
        with pytest.raises(ValueError, match="made for 2 epochs, and the training has 3"):
            tune(
                model,
                digits,
                training,
                epochs=3,
                seed=0,
                module=module,
                loss=loss,
                batches=loss.batches,
            )
