"""One step of a compression: a trained model in, a quantised one out, with what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from archspace import WEIGHTED, Layer
from child_models import ChildModule, Dataset, ExitChoice, TrainingConfig
from child_models.fitting import OnEpoch, OnStep
from compress.distillation.combined_loss import DistilLoss
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.errors import QuantisationError
from compress.quantisation.execution import CallCosts, Execution, ExecutionCost, within_limits
from compress.quantisation.module import weight_name
from compress.quantisation.plan import Kind, form_size_bytes, layer_kind
from compress.quantisation.qat import Learning, freezing, prepare_training, trained_quantised
from compress.quantisation.result import Quantisation, WeightForm
from compress.quantisation.sensitivity import Sensitivity
from compress.quantisation.starting_point import starting_point
from compress.trained_model import TrainedModel
from compress.tuning import tune


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What became of one conv or linear layer.

    Attributes:
        bits: of a weight, 32 where untouched.
        size_bytes: as stored, BatchNorm folded in; `size_before_bytes` the same in float32.
        relative_error: √(Σ(w − ŵ)² / Σw²) before any training; 0 where untouched.
    """

    name: str
    kind: Kind
    bits: int
    size_bytes: int
    size_before_bytes: int
    relative_error: float


@dataclass(frozen=True, slots=True)
class Quantised:
    """Outcome of `quantise`.

    Attributes:
        model: weights on their grids; its `logits` are those of fake quantisation.
        exit_choice: how its exits do on validation data.
        layers: conv and linear layers in order.
        size_bytes: packed weights, scales and biases of all layers; `size_before_bytes` the same in float32.
        accuracy_before, accuracy_after: on validation data, exits taken at their thresholds, share.
        execution: "int8" where `int8_onnx` can write it; else it runs in float32 and only size (and accuracy) changed.
        sensitivities: the table that bits were lowered by; empty where there was no limit on size.
        execution_costs: of float32 and of INT8; empty where there was no limit on latency or energy.
    """

    model: TrainedModel
    exit_choice: ExitChoice
    layers: tuple[LayerReport, ...]
    size_bytes: int
    size_before_bytes: int
    accuracy_before: float
    accuracy_after: float
    execution: Execution
    sensitivities: tuple[Sensitivity, ...] = ()
    execution_costs: tuple[ExecutionCost, ...] = ()


def quantise(
    model: TrainedModel,
    dataset: Dataset,
    config: QuantiseConfig,
    training: TrainingConfig,
    *,
    seed: int,
    bits: Mapping[str, int] | None = None,
    costs: CallCosts | None = None,
    teach: Callable[[ChildModule], AbstractContextManager[DistilLoss]] | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Quantised:
    """Quantise `model` as `config` says; equal input gives equal output on one machine with one number of threads.

    Args:
        model: in float32.
        training: of the loop, where there is training; its learning rate and precision are not used (float32 is).
        seed: of calibration images, order, augmentation and noise.
        bits: of each conv and linear layer's weights, by name; as `config` says if None.
        costs: what latency and energy are judged by, where they have limits; measured on this device if None.
        teach: gives the loss of a distillation for the module that is trained (`distil_loss`); the labels' cross-entropy
            if None. Calls `on_epoch` as any training does.

    Raises:
        ValueError: a distillation that does not fit (see `distil_loss`).
        QuantisationError: `model` is quantised already or holds NaN or infinity.
        BudgetUnreachable: a limit cannot be held.
        NonFiniteTraining: training diverged.
    """
    if model.quantisation is not None:
        raise QuantisationError("the model is quantised already; start from the float32 one")
    measured: tuple[ExecutionCost, ...] = ()
    if config.limits_calls:
        if bits is not None:
            raise QuantisationError("bits: limits on latency and energy decide; expected None")
        config, measured = within_limits(model, dataset, config, costs, seed=seed)
    start = starting_point(model, dataset, config, seed=seed, bits=bits)
    forms = start.quantisation.weights
    if config.mode == "ptq" or config.epochs == 0 or start.is_empty:
        quantised = start.rounded(model)
    else:
        learning = Learning(
            learned_scales=config.scales == "lsq", weight_noise=config.weight_noise, seed=seed
        )
        module = prepare_training(model, start.quantisation, start.ranges, learning)
        own = {"learning_rate": config.learning_rate, "precision": "fp32"}
        with teach(module) if teach is not None else nullcontext() as loss:
            tuned = tune(
                model,
                dataset,
                training.model_copy(update=own),  # bf16 has no more digits than 8 bits have
                epochs=config.epochs,
                seed=seed,
                loss=loss,
                module=module,
                batches=loss.batches if loss is not None else None,
                more_parameters=loss.parameters() if loss is not None else (),
                on_step=freezing(module, config.freeze_share, on_step),
                on_epoch=on_epoch,
            )
        quantised = trained_quantised(tuned.model, module)
    quantised, choice = quantised.with_exits_chosen(dataset, training.max_exit_drop)
    report = _report(model, quantised, choice, forms, dataset)
    return replace(report, sensitivities=start.sensitivities, execution_costs=measured)


def _report(
    model: TrainedModel,
    quantised: TrainedModel,
    choice: ExitChoice,
    forms: Mapping[str, WeightForm],
    dataset: Dataset,
) -> Quantised:
    quantisation = quantised.quantisation or Quantisation()
    final = quantisation.weights
    layers = [n for n in model.network.layers if n.op in WEIGHTED]
    return Quantised(
        model=quantised,
        exit_choice=choice,
        layers=tuple(
            _layer_report(model, layer, forms.get(layer.name), final.get(layer.name))
            for layer in layers
        ),
        size_bytes=sum(form_size_bytes(n, final.get(n.name)) for n in model.network.layers),
        size_before_bytes=sum(form_size_bytes(n, None) for n in model.network.layers),
        accuracy_before=model.accuracy(dataset.validation, dataset),
        accuracy_after=choice.accuracy,
        execution="float32" if quantisation.why_not_int8 else "int8",
    )


def _layer_report(
    model: TrainedModel, layer: Layer, form: WeightForm | None, final: WeightForm | None
) -> LayerReport:
    error = 0.0
    if form is not None:
        weight = model.weights[f"layers.{layer.name}.{weight_name(layer.op)}"].astype(np.float64)
        norm = float(np.linalg.norm(weight))
        error = float(np.linalg.norm(weight - form.nearest(weight))) / norm if norm else 0.0
    return LayerReport(
        name=layer.name,
        kind=layer_kind(layer),
        bits=32 if final is None else final.bits,
        size_bytes=form_size_bytes(layer, final),
        size_before_bytes=form_size_bytes(layer, None),
        relative_error=error,
    )
