"""The loss of a distillation alone: for `tune` with whatever module, also one that is fake-quantised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archspace import Network
from child_models import Dataset, TrainingConfig
from child_models.batches import Batch, TrainingBatches, ViewBatches
from child_models.fitting import Moment
from child_models.training import heads_loss
from compress.distillation import losses
from compress.distillation.config import PAIRED, TERMS, DistilConfig, Term
from compress.distillation.features import (
    Adapters,
    Capture,
    Maps,
    Pair,
    PairError,
    embedding_layer,
    paired_layers,
)
from compress.distillation.teacher import Answers, LiveTeacher, Teacher, check_fits
from compress.distillation.teacher_cache import CachedTeacher
from compress.distillation.term_log import EpochLog, TermRecorder
from compress.distillation.timetable import Timetable
from compress.trained_model import TrainedModel

ANGLE_IMAGES = 96
"""Most images of a batch whose angles are compared, the first ones: there are as many angles as their cube."""


class DistilLoss:
    """Compares student and teacher as a `DistilConfig` says; a `Loss` for `fit` and `tune`. See `distil_loss`."""

    def __init__(
        self,
        module: nn.Module,
        networks: tuple[Network, Network],
        teacher: Teacher,
        pairs: Sequence[Pair],
        batches: TrainingBatches,
        config: DistilConfig,
        training: TrainingConfig,
        *,
        epochs: int,
        seed: int,
    ) -> None:
        device = next(module.parameters()).device
        self.batches = batches
        """Of the training split, which the loss must be used with."""
        self._teacher, self._pairs = teacher, tuple(pairs)
        self._config, self._training = config, training
        self._timetable = Timetable(config.stages, epochs)
        self._embeddings = tuple(embedding_layer(network) for network in networks)
        needs_adapters = "feature" in config.used()
        self._adapters = Adapters(pairs if needs_adapters else (), seed).to(device)
        self._capture = Capture(module, [*(p.student for p in pairs), self._embeddings[0]])
        self._recorder = TermRecorder([p for p in module.parameters() if p.requires_grad])

    def __call__(self, heads: tuple[Tensor, ...], batch: Batch, moment: Moment) -> Tensor:
        if moment.epochs != self._timetable.epochs:
            raise ValueError(
                f"the loss was made for {self._timetable.epochs} epochs, and the training has {moment.epochs}; "
                "give both the same number"
            )
        place = self._timetable.place(moment)
        weights = self._config.stages[place.stage].mix.weights(place.progress)
        temperature = self._config.temperature.at(moment, place.stage)
        used = [term for term in TERMS if weights[term] > 0]
        maps = self._capture.take()
        answers = None
        if used != ["hard"] or self._config.hard_examples is not None:
            answers = self._teacher(batch)
        values = {term: self._term(term, heads, maps, batch, answers, temperature) for term in used}
        self._recorder.add((moment.epoch, place.stage), temperature, weights, values)
        return torch.stack([weights[term] * value for term, value in values.items()]).sum()

    def parameters(self) -> list[nn.Parameter]:
        """Of the adapters, to be trained with the student and then dropped."""
        return list(self._adapters.parameters())

    def logs(self) -> tuple[EpochLog, ...]:
        """Each epoch's terms so far."""
        return self._recorder.logs()

    def close(self) -> None:
        """Remove the hooks from the student."""
        self._capture.close()

    def _term(
        self,
        term: Term,
        heads: tuple[Tensor, ...],
        maps: Maps,
        batch: Batch,
        answers: Answers | None,
        temperature: float,
    ) -> Tensor:
        if term == "hard" and (answers is None or self._config.hard_examples is None):
            return heads_loss(heads, batch.labels, self._training)
        assert answers is not None
        match term:
            case "hard":
                return self._hard_examples(heads, batch.labels, self._weights(answers))
            case "soft":
                return self._soft(heads, answers, temperature)
            case "feature":
                return self._features(maps, answers.maps)
            case "attention":
                return self._attention(maps, answers.maps)
            case "rkd_distance" | "rkd_angle":
                return self._relations(term, maps, answers.maps)

    def _weights(self, answers: Answers) -> Tensor | None:
        """Of the images (batch,); None for equal ones."""
        hard = self._config.hard_examples
        return None if hard is None else losses.hard_example_weights(answers.logits, hard.cap)

    def _hard_examples(
        self, heads: tuple[Tensor, ...], labels: Tensor, weights: Tensor | None
    ) -> Tensor:
        smoothing = self._training.label_smoothing
        return self._over_heads(
            [
                losses.weighted_mean(
                    F.cross_entropy(head, labels, label_smoothing=smoothing, reduction="none"),
                    weights,
                )
                for head in heads
            ]
        )

    def _soft(self, heads: tuple[Tensor, ...], answers: Answers, temperature: float) -> Tensor:
        """Every head, exits too, learns from the teacher's final head."""
        weights = self._weights(answers)
        return self._over_heads(
            [losses.soft_targets(head, answers.logits, temperature, weights) for head in heads]
        )

    def _over_heads(self, values: list[Tensor]) -> Tensor:
        """The final head's + exit_loss_weight · mean of the exits', as in `heads_loss`."""
        *early, final = values
        if early:
            final = final + self._training.exit_loss_weight * torch.stack(early).mean()
        return final

    def _features(self, ours: Maps, theirs: Maps) -> Tensor:
        values = [
            losses.feature(*self._adapters.adapted(i, ours[pair.student], theirs[pair.teacher]))
            for i, pair in enumerate(self._pairs)
        ]
        return torch.stack(values).mean()

    def _attention(self, ours: Maps, theirs: Maps) -> Tensor:
        values = [
            losses.attention(ours[pair.student], theirs[pair.teacher])
            for pair in self._pairs
            if pair.has_places
        ]
        return torch.stack(values).mean()

    def _relations(self, term: Term, ours: Maps, theirs: Maps) -> Tensor:
        student, teacher = (
            maps[layer].flatten(1)
            for maps, layer in zip((ours, theirs), self._embeddings, strict=True)
        )
        if term == "rkd_distance":
            return losses.rkd_distance(student, teacher)
        return losses.rkd_angle(student[:ANGLE_IMAGES], teacher[:ANGLE_IMAGES])


@contextmanager
def distil_loss(
    module: nn.Module,
    student: Network,
    teacher: TrainedModel,
    dataset: Dataset,
    config: DistilConfig,
    training: TrainingConfig,
    *,
    epochs: int,
    seed: int,
    cache_dir: Path | None = None,
) -> Iterator[DistilLoss]:
    """The loss for training `module`; its hooks are in `module` until the end of the ``with`` block.

    Example::

        with distil_loss(module, model.network, teacher, dataset, config, training, epochs=8, seed=0) as loss:
            tune(model, dataset, training, epochs=8, seed=0, module=module,
                 loss=loss, batches=loss.batches, more_parameters=loss.parameters())

    Args:
        module: has the layers of `student` under ``layers``, as `ChildModule`; already on its device, and prepared.
        epochs: of the whole training; decides where stages end.
        seed: of the batches' order and the adapters' first weights.
        cache_dir: where the teacher's answers are kept; needed where `config.views` is above 0.

    Raises:
        ValueError: teacher, student and data do not fit together, or fewer epochs than stages.
        PairError: layers that cannot be compared.
    """
    check_fits(student.num_classes, teacher, dataset)
    pairs = _pairs(student, teacher.network, config)
    batches = _batches(dataset, config, training, seed)
    wanted = [pair.teacher for pair in pairs]
    if {"rkd_distance", "rkd_angle"} & set(config.used()):
        wanted.append(embedding_layer(teacher.network))
    answering: Teacher
    if isinstance(batches, ViewBatches):
        if cache_dir is None:
            raise ValueError(
                f"views: {config.views} views are to be kept, but there is no cache_dir; give one, or set views: 0"
            )
        answering = CachedTeacher(
            teacher,
            dataset,
            batches,
            training.augmentation or dataset.augmentation,
            wanted,
            cache_dir,
        )
    else:
        answering = LiveTeacher(teacher, wanted, next(module.parameters()).device)
    loss = DistilLoss(
        module,
        (student, teacher.network),
        answering,
        pairs,
        batches,
        config,
        training,
        epochs=epochs,
        seed=seed,
    )
    try:
        yield loss
    finally:
        loss.close()


def _pairs(student: Network, teacher: Network, config: DistilConfig) -> tuple[Pair, ...]:
    """None where no term needs them."""
    if not set(PAIRED) & set(config.used()):
        return ()
    pairs = paired_layers(student, teacher, config.pairs)
    if "attention" in config.used() and not any(pair.has_places for pair in pairs):
        raise PairError("pairs: attention needs maps of more than one pixel; pair other layers")
    return pairs


def _batches(
    dataset: Dataset, config: DistilConfig, training: TrainingConfig, seed: int
) -> TrainingBatches:
    if not config.views:
        return TrainingBatches.of(dataset, training, seed)
    return ViewBatches(
        dataset,
        training.augmentation or dataset.augmentation,
        batch_size=training.batch_size,
        channels_last=training.channels_last,
        seed=seed,
        views=config.views,
        views_seed=config.views_seed,
    )
