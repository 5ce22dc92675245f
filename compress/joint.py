"""Everything at once: a teacher, fewer channels and fewer bits in one training and one loss.

    L = L_task(rounded network) + λ·Σ_groups √(weights a channel)·Σ_c ‖w_c‖₂

L_task is the labels' cross-entropy, or a distillation's loss; the network is rounded while it is trained. The second term is
the group lasso over channels (Yuan & Lin 2006; Wen et al. 2016, "Learning Structured Sparsity in Deep Neural Networks",
equation 2), over all kernels that give a channel together. At a stated moment the channels of the smallest norms are set
to zero and stay so; the rest of the training mends what that broke, and in the end they are taken out, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from child_models import ChildModule, Dataset, TrainingConfig, count_params
from child_models.batches import Batch, TrainingBatches
from child_models.fitting import Loss, Moment, OnEpoch, finite_weights
from compress.distillation.combined_loss import DistilLoss
from compress.pruning.config import PruneConfig
from compress.pruning.groups import ChannelGroup
from compress.pruning.importance.base import by_channel, kernels
from compress.pruning.scored import ScoredChannels, groups_of
from compress.pruning.surgery import remove_channels, removed_rows
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.module import QuantisedModule
from compress.quantisation.qat import Learning, freezing, prepare_training, trained_quantised
from compress.quantisation.starting_point import starting_point
from compress.trained_model import TrainedModel
from compress.tuning import hard_loss, trainable_module, tune


class JointConfig(BaseModel):
    """Settings of a joint training. Example in YAML::

    epochs: 20
    keep_params: 0.5
    quantisation: {mode: qat}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: int = Field(default=20, ge=2, le=10_000)
    """Passes over the training split."""
    keep_params: float | None = Field(default=0.5, gt=0, lt=1)
    """Share of the parameters that stays, at most; null prunes nothing."""
    sparsity: float = Field(default=1e-4, ge=0, le=1)
    """λ: how hard norms of channels are pressed together before channels go."""
    prune_at: float = Field(default=0.4, gt=0, lt=1)
    """Share of the steps after which channels go."""
    multiple: int = Field(default=8, ge=1, le=64)
    """As in pruning."""
    least_share: float = Field(default=0.1, ge=0, le=1)
    """As in pruning."""
    quantisation: QuantiseConfig | None = None
    """Grids that the network is rounded to while it is trained (mode qat); null for float32. Its own epochs are not used."""

    @model_validator(mode="after")
    def _limits_are_for_a_finished_network(self) -> Self:
        if self.quantisation is not None and self.quantisation.limits_calls:
            raise ValueError(
                "quantisation: max_latency_ms and max_energy_mj are for a network that loses no more channels; "
                "expected null (a later step can quantise)"
            )
        return self

    @property
    def pruning(self) -> PruneConfig:
        """What selects channels: by their joint L2 norm."""
        return PruneConfig(
            method="l2",
            keep_params=self.keep_params,
            multiple=self.multiple,
            least_share=self.least_share,
            rounds=1,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class JointlyCompressed:
    """The model, and what became of the penalty.

    Attributes:
        losses: mean loss of each epoch, the penalty included.
        penalty_before, penalty_at_pruning: of the group lasso, with λ, at the start and when channels went.
    """

    model: TrainedModel
    losses: tuple[float, ...]
    penalty_before: float
    penalty_at_pruning: float | None


Teach = Callable[[ChildModule], AbstractContextManager[DistilLoss]]
"""Gives a distillation's loss for the module that is trained."""


def compress_jointly(
    model: TrainedModel,
    dataset: Dataset,
    config: JointConfig,
    training: TrainingConfig,
    *,
    seed: int,
    teach: Teach | None = None,
    on_epoch: OnEpoch | None = None,
) -> JointlyCompressed:
    """Train `model` once under all of `config`'s constraints.

    Args:
        model: in float32.
        training: of the loop; with quantisation its precision is float32.
        teach: a distillation (`distil_loss`); the labels' cross-entropy if None.

    Raises:
        CompressionError: nothing can be pruned, or the share cannot be reached.
        QuantisationError: grids that cannot be made.
        NonFiniteTraining: training diverged.
    """
    module = _prepared(model, dataset, config, seed)
    channels = _Channels(model, dataset, config, module) if config.keep_params else None
    own = (
        training
        if config.quantisation is None
        else training.model_copy(update={"precision": "fp32"})
    )
    with teach(module) if teach is not None else nullcontext() as taught:
        task: Loss = taught if taught is not None else hard_loss(training)
        batches = taught.batches if taught is not None else TrainingBatches.of(dataset, own, seed)
        if channels is not None:
            channels.prune_in_step = max(1, round(config.prune_at * config.epochs * batches.steps))
        freeze = config.quantisation.freeze_share if config.quantisation else 0.0
        tuned = tune(
            model,
            dataset,
            own,
            epochs=config.epochs,
            seed=seed,
            module=module,
            loss=task if channels is None else channels.penalised(task),
            batches=batches,
            more_parameters=taught.parameters() if taught is not None else (),
            after_step=() if channels is None else (channels.after_step,),
            on_step=freezing(module, freeze) if isinstance(module, QuantisedModule) else None,
            on_epoch=on_epoch,
        )
    done = tuned.model
    if isinstance(module, QuantisedModule):
        done = trained_quantised(done, module)
    if channels is not None:
        assert channels.kept is not None, "prune_at lies within the training"
        done = remove_channels(done, channels.groups, channels.kept)
    done = done.with_exits_chosen(dataset, training.max_exit_drop)[0]
    return JointlyCompressed(
        model=done,
        losses=tuned.fitted.losses,
        penalty_before=0.0 if channels is None else channels.first_penalty,
        penalty_at_pruning=None if channels is None else channels.last_penalty,
    )


def _prepared(model: TrainedModel, dataset: Dataset, config: JointConfig, seed: int) -> ChildModule:
    if config.quantisation is None:
        return trainable_module(model)
    start = starting_point(model, dataset, config.quantisation, seed=seed)
    how = Learning(
        learned_scales=config.quantisation.scales == "lsq",
        weight_noise=config.quantisation.weight_noise,
        seed=seed,
    )
    return prepare_training(model, start.quantisation, start.ranges, how)


class _Channels:
    """Presses channels' norms together, and sets the smallest to zero when it is time."""

    def __init__(
        self, model: TrainedModel, dataset: Dataset, config: JointConfig, module: ChildModule
    ) -> None:
        self.groups = groups_of(model)
        self.kept: list[list[int]] | None = None
        self.prune_in_step = 1
        self.first_penalty = self.last_penalty = 0.0
        self._model, self._dataset, self._config = model, dataset, config
        self._module = module
        self._parameters = dict(module.named_parameters())
        self._masked: list[tuple[nn.Parameter, Tensor]] = []
        self._steps = 0
        # what cannot be reached is said before anything is trained
        allowed = (config.keep_params or 1.0) * count_params(model.network)
        ScoredChannels.of(model, dataset, config.pruning, 0).most_within(allowed)
        self._allowed = allowed

    def penalised(self, task: Loss) -> Loss:
        """`task` + λ · group lasso, until channels have gone."""

        def loss(heads: tuple[Tensor, ...], batch: Batch, moment: Moment) -> Tensor:
            value = task(heads, batch, moment)
            if self.kept is not None:
                return value
            penalty = self._config.sparsity * group_lasso(self._parameters, self.groups)
            self.last_penalty = float(penalty.detach())
            if moment.step == 0:
                self.first_penalty = self.last_penalty
            return value + penalty

        return loss

    def after_step(self) -> None:
        self._steps += 1
        if self.kept is None and self._steps >= self.prune_in_step:
            self._choose()
        with torch.no_grad():
            for parameter, gone in self._masked:
                parameter[gone] = 0.0

    def _choose(self) -> None:
        now = TrainedModel.of(self._model.network, finite_weights(self._module))
        scored = ScoredChannels.of(now, self._dataset, self._config.pruning, 0)
        self.kept = scored.kept(scored.most_within(self._allowed))
        self._masked = [
            (self._parameters[name], torch.from_numpy(np.asarray(gone)))
            for name, gone in removed_rows(self.groups, self.kept)
            if name in self._parameters
        ]


def group_lasso(parameters: dict[str, nn.Parameter], groups: Sequence[ChannelGroup]) -> Tensor:
    """Σ_groups √(weights a channel)·Σ_c ‖w_c‖₂, a scalar; w_c are all weights that give channel c."""
    terms = []
    for group in groups:
        flat = torch.cat([by_channel(parameters[name]) for name in kernels(group)], dim=1)
        # the root's slope at 0 is infinite: a channel that is 0 stays there by its mask, not by its gradient
        norms = (flat.square().sum(dim=1) + 1e-12).sqrt()
        terms.append(flat.shape[1] ** 0.5 * norms.sum())
    return torch.stack(terms).sum()
