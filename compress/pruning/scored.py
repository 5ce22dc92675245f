"""A model whose channels have been scored: what is left of it with fewer of them, and how few a target asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from child_models import Dataset, count_macs, count_params
from compress.errors import CompressionError
from compress.pruning.config import Method, PruneConfig
from compress.pruning.groups import ChannelGroup, channel_groups
from compress.pruning.importance.activation import activation
from compress.pruning.importance.base import Importance, Scores
from compress.pruning.importance.fisher import fisher
from compress.pruning.importance.hutchinson import hutchinson
from compress.pruning.importance.magnitude import l1, l2
from compress.pruning.importance.random_scores import random_scores
from compress.pruning.importance.taylor import taylor
from compress.pruning.selection import channels_kept
from compress.pruning.surgery import remove_channels
from compress.trained_model import TrainedModel

METHODS: Mapping[Method, Importance] = {
    "l1": l1,
    "l2": l2,
    "activation": activation,
    "taylor": taylor,
    "fisher": fisher,
    "hutchinson": hutchinson,
    "random": random_scores,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredChannels:
    """A model whose channels have been scored."""

    model: TrainedModel
    config: PruneConfig
    groups: tuple[ChannelGroup, ...]
    scores: list[Scores]

    @classmethod
    def of(
        cls, model: TrainedModel, dataset: Dataset, config: PruneConfig, seed: int
    ) -> ScoredChannels:
        groups = groups_of(model)
        scores = METHODS[config.method](model, groups, dataset, images=config.images, seed=seed)
        return cls(model=model, config=config, groups=groups, scores=scores)

    @property
    def channels(self) -> int:
        """Of all groups together."""
        return sum(group.size for group in self.groups)

    def with_channels(self, count: int) -> TrainedModel:
        """The model with about `count` of the channels left."""
        return remove_channels(self.model, self.groups, self.kept(count))

    def kept(self, count: int) -> list[list[int]]:
        """For each group the channels that stay, so that about `count` are left."""
        return channels_kept(
            self.groups,
            self.scores,
            min(max(count, 0), self.channels),
            ranking=self.config.ranking,
            multiple=self.config.multiple,
            least_share=self.config.least_share,
        )

    def most_within(self, allowed: float) -> int:
        """The largest number of channels whose network holds the target, found by halving.

        Raises:
            CompressionError: none does.
        """
        kind, value = self.config.target
        counted = count_params if kind == "keep_params" else count_macs

        def fits(count: int) -> bool:
            return counted(self.with_channels(count).network) <= allowed

        if not fits(0):
            raise CompressionError(
                f"{kind}: {value:g} cannot be reached: with as few channels as least_share ({self.config.least_share:g}) "
                f"and multiple ({self.config.multiple}) leave, more stays; ask for more, or lower those"
            )
        low, high = 0, self.channels + 1  # the first fits, the second is too many
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def groups_of(model: TrainedModel) -> tuple[ChannelGroup, ...]:
    """What can be pruned. Raises CompressionError where nothing can."""
    groups = channel_groups(model.network)
    if not groups:
        raise CompressionError(
            "nothing in this network can be pruned: it has no convolution whose channels others read"
        )
    return groups
