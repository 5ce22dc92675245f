"""One step of a plan, carried out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from child_models import ChildModule, Dataset, TrainingConfig
from child_models.fitting import OnEpoch
from compress.distillation.combined_loss import DistilLoss, distil_loss
from compress.distillation.config import DistilConfig
from compress.distillation.distilling import distil
from compress.distillation.term_log import EpochLog
from compress.execution_costs import MeasuredCosts
from compress.joint import compress_jointly
from compress.plan import DistilStep, FineTuneStep, JointStep, PruneStep, QuantiseStep, Step
from compress.pruning.prune import Round, prune
from compress.quantisation.quantise import quantise
from compress.trained_model import TrainedModel
from compress.tuning import tune
from latency_models import Device

Outcome = tuple[TrainedModel, dict[str, Any]]
"""The model after the step, and what the step says about itself, JSON-ready."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StepContext:
    """What all steps share.

    Attributes:
        cache_dir: where the teacher's answers are kept.
        device: where limits on latency and energy are measured.
        on_progress: called with what is being done and the share done, 0–1.
    """

    dataset: Dataset
    training: TrainingConfig
    teacher: TrainedModel
    seed: int
    cache_dir: Path
    device: Device
    on_progress: Callable[[str, float], None]

    def epochs_of(self, what: str, epochs: int) -> OnEpoch:
        """Tells of a training's progress."""
        return lambda done, loss: self.on_progress(f"{what}, loss {loss:.3f}", done / epochs)


def run_step(step: Step, model: TrainedModel, context: StepContext) -> Outcome:
    """Raises what the step's own function raises; ValueErrors say what to change."""
    match step:
        case FineTuneStep():
            return _finetune(step, model, context)
        case DistilStep():
            return _distil(step, model, context)
        case PruneStep():
            return _prune(step, model, context)
        case JointStep():
            return _joint(step, model, context)
        case QuantiseStep():
            return _quantise(step, model, context)


def _finetune(step: FineTuneStep, model: TrainedModel, context: StepContext) -> Outcome:
    tuned = tune(
        model,
        context.dataset,
        context.training,
        epochs=step.epochs,
        seed=context.seed,
        on_epoch=context.epochs_of("fine-tuning", step.epochs),
    )
    return tuned.model, {"losses": tuned.fitted.losses, "skipped_steps": tuned.fitted.skipped}


def _distil(step: DistilStep, model: TrainedModel, context: StepContext) -> Outcome:
    done = distil(
        model,
        context.teacher,
        context.dataset,
        step.distillation,
        context.training,
        epochs=step.epochs,
        seed=context.seed,
        cache_dir=context.cache_dir,
        on_epoch=context.epochs_of("distilling", step.epochs),
    )
    return done.model, {
        "losses": done.losses,
        "skipped_steps": done.skipped,
        "terms": [_epoch_to_json(epoch) for epoch in done.epochs],
    }


def _epoch_to_json(epoch: EpochLog) -> dict[str, Any]:
    """JSON has no NaN: null stands for what was never a number."""
    terms = [
        {key: None if value != value else value for key, value in asdict(term).items()}
        for term in epoch.terms
    ]
    return {**asdict(epoch), "terms": terms}


def _prune(step: PruneStep, model: TrainedModel, context: StepContext) -> Outcome:
    rounds = step.pruning.rounds
    finished = 0

    def tune_with(pruned: TrainedModel, epochs: int, seed: int) -> TrainedModel:
        told = context.epochs_of(f"pruning round {finished + 1} of {rounds}", epochs)
        if step.distillation is None:
            tuned = tune(
                pruned, context.dataset, context.training, epochs=epochs, seed=seed, on_epoch=told
            )
            return tuned.model
        taught = distil(
            pruned,
            context.teacher,
            context.dataset,
            step.distillation,
            context.training,
            epochs=epochs,
            seed=seed,
            cache_dir=context.cache_dir,
            on_epoch=told,
        )
        return taught.model

    def on_round(_round: Round, number: int) -> None:
        nonlocal finished
        finished = number

    done = prune(
        model,
        context.dataset,
        step.pruning,
        context.training,
        seed=context.seed,
        tune_with=tune_with,
        on_round=on_round,
    )
    return done.model, done.to_json()


def _joint(step: JointStep, model: TrainedModel, context: StepContext) -> Outcome:
    config = step.joint
    done = compress_jointly(
        model,
        context.dataset,
        config,
        context.training,
        seed=context.seed,
        teach=_teaching(step.distillation, model, config.epochs, context),
        on_epoch=context.epochs_of("all at once", config.epochs),
    )
    return done.model, {
        "losses": done.losses,
        "penalty_before": done.penalty_before,
        "penalty_at_pruning": done.penalty_at_pruning,
    }


def _quantise(step: QuantiseStep, model: TrainedModel, context: StepContext) -> Outcome:
    config = step.quantisation
    done = quantise(
        model,
        context.dataset,
        config,
        context.training,
        seed=context.seed,
        costs=MeasuredCosts(context.device),
        teach=_teaching(step.distillation, model, config.epochs, context),
        on_epoch=context.epochs_of("quantising", config.epochs),
    )
    return done.model, {
        "execution": done.execution,
        "packed_bytes": done.size_bytes,
        "layers": [asdict(layer) for layer in done.layers],
        "execution_costs": [asdict(cost) for cost in done.execution_costs],
    }


def _teaching(
    config: DistilConfig | None, model: TrainedModel, epochs: int, context: StepContext
) -> Callable[[ChildModule], AbstractContextManager[DistilLoss]] | None:
    """Makes the loss for the module that is trained, whatever it is."""
    if config is None:
        return None
    return lambda module: distil_loss(
        module,
        model.network,
        context.teacher,
        context.dataset,
        config,
        context.training,
        epochs=epochs,
        seed=context.seed,
        cache_dir=context.cache_dir,
    )
