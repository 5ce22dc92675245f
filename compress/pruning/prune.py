"""Iterative structured pruning: score, take channels out, recalibrate, train further, judge, again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from child_models import Dataset, TrainingConfig, count_macs, count_params
from compress.batch_norm import recalibrate
from compress.pruning.config import PruneConfig
from compress.pruning.groups import channel_groups
from compress.pruning.schedules import pruned_share
from compress.pruning.scored import ScoredChannels
from compress.trained_model import TrainedModel
from compress.tuning import tune

_log = logging.getLogger(__name__)

TuneWith = Callable[[TrainedModel, int, int], TrainedModel]
"""Trains a model further: (model, epochs, seed) → model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round.

    Attributes:
        channels: share of the original channels that is gone.
        accuracy_pruned, accuracy: on validation data, before and after training further, share 0–1.
        kept: whether the round counts; False for the one that lost too much.
    """

    channels: float
    num_params: int
    num_macs: int
    accuracy_pruned: float
    accuracy: float
    kept: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """The model after the last round that counts, and all rounds."""

    model: TrainedModel
    accuracy_before: float
    rounds: tuple[Round, ...]

    @property
    def returned(self) -> bool:
        """Whether the last round was undone."""
        return bool(self.rounds) and not self.rounds[-1].kept

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = [{name: getattr(each, name) for name in Round.__slots__} for each in self.rounds]
        return {"accuracy_before": self.accuracy_before, "rounds": rows, "returned": self.returned}


def prune(
    model: TrainedModel,
    dataset: Dataset,
    config: PruneConfig,
    training: TrainingConfig,
    *,
    seed: int,
    tune_with: TuneWith | None = None,
    on_round: Callable[[Round, int], None] | None = None,
) -> Pruned:
    """Prune `model` in `config.rounds` rounds.

    Every round scores what is left anew. BatchNorm is recalibrated after channels have gone, and training further starts
    with a new optimiser.

    Args:
        training: of training further, where `tune_with` is None.
        seed: of images that scores look at, and of training.
        tune_with: another way to train further, such as with a teacher.
        on_round: told of each round and its number, from 1.

    Raises:
        CompressionError: nothing in the network can be pruned, or the target cannot be reached.
    """
    tuner = tune_with or (
        lambda pruned, epochs, own: tune(pruned, dataset, training, epochs=epochs, seed=own).model
    )
    target = _Target.of(model, dataset, config, seed)
    before = model.accuracy(dataset.validation, dataset)
    rounds: list[Round] = []
    for number in range(1, config.rounds + 1):
        scored = ScoredChannels.of(model, dataset, config, seed + number)
        smaller = recalibrate(scored.with_channels(target.channels_after(number, scored)), dataset)
        pruned = smaller.accuracy(dataset.validation, dataset)
        if config.epochs:
            smaller = tuner(smaller, config.epochs, seed + number)
        accuracy = smaller.accuracy(dataset.validation, dataset)
        left = sum(group.size for group in channel_groups(smaller.network))
        lost_too_much = config.max_drop is not None and before - accuracy > config.max_drop
        rounds.append(
            Round(
                channels=1 - left / target.original,
                num_params=count_params(smaller.network),
                num_macs=count_macs(smaller.network),
                accuracy_pruned=pruned,
                accuracy=accuracy,
                kept=not lost_too_much,
            )
        )
        _log.info("pruning round %d: %s", number, rounds[-1])
        if on_round is not None:
            on_round(rounds[-1], number)
        if lost_too_much:
            break
        model = smaller
    return Pruned(model=model, accuracy_before=before, rounds=tuple(rounds))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """How many channels there were, the share of them that is to go, and what the last round must hold.

    `allowed` is a number of parameters or multiply-accumulates; None where channels themselves are the target.
    """

    config: PruneConfig
    original: int
    share: float
    allowed: float | None

    @classmethod
    def of(cls, model: TrainedModel, dataset: Dataset, config: PruneConfig, seed: int) -> _Target:
        kind, value = config.target
        scored = ScoredChannels.of(model, dataset, config, seed)
        if kind == "channels":
            return cls(config=config, original=scored.channels, share=value, allowed=None)
        counted = count_params if kind == "keep_params" else count_macs
        allowed = value * counted(model.network)
        share = 1 - scored.most_within(allowed) / scored.channels
        return cls(config=config, original=scored.channels, share=share, allowed=allowed)

    def channels_after(self, number: int, scored: ScoredChannels) -> int:
        """Channels that round `number` leaves; the last one holds the target by the scores of its own time."""
        if self.allowed is not None and number == self.config.rounds:
            return scored.most_within(self.allowed)
        gone = pruned_share(self.config.schedule, number, self.config.rounds, self.share)
        return round(self.original * (1 - gone))
