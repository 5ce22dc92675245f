"""The training loop alone: whatever module, whatever loss. `training` and `compress` share it.

ArithmeticError
└── NonFiniteTraining    the loss or the weights stopped being finite numbers
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from child_models.batches import Batch, TrainingBatches
from child_models.precision import DTYPES, Precision
from child_models.training_config import TrainingConfig

OnStep = Callable[[int, int], None]
"""Called after each step with (steps done, steps in all); what it raises ends the training."""
OnEpoch = Callable[[int, float], None]
"""Called after each epoch with (epochs done, mean training loss); what it raises ends the training."""


class NonFiniteTraining(ArithmeticError):
    """Training diverged: NaN or infinity. The same network, settings and seed will do so again."""


class Moment(NamedTuple):
    """Where the loop is: steps and epochs count from 0."""

    step: int
    steps: int
    epoch: int
    epochs: int


class Loss(Protocol):
    """What is minimised."""

    def __call__(self, heads: tuple[Tensor, ...], batch: Batch, moment: Moment) -> Tensor:
        """A scalar.

        Args:
            heads: what the module said of `batch.images`: (batch, num_classes) logits a head, the final one last.
        """


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` did.

    Attributes:
        losses: mean training loss of each epoch, over the steps that were taken.
        skipped: steps left out since the loss or its gradient was not finite.
    """

    losses: tuple[float, ...]
    skipped: int


def fit(
    module: nn.Module,
    batches: TrainingBatches,
    config: TrainingConfig,
    loss: Loss,
    *,
    epochs: int,
    precision: Precision = "fp32",
    more_parameters: Iterable[nn.Parameter] = (),
    after_step: Sequence[Callable[[], None]] = (),
    non_finite: Literal["raise", "skip"] = "raise",
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """Train `module` in place, on the device where it lies, in the mode (training or not) that its parts are in.

    A new optimiser and a whole learning-rate schedule (`learning_rate_factor`) each call.

    Args:
        config: optimiser, learning rate, weight decay, clipping; the loss is the caller's.
        precision: of convolutions and linear layers; the loss is computed from float32 logits. With "fp16" the loss is
            scaled (Micikevicius et al. 2018, section 3.2), and steps that overflow are always skipped: so the scale is found.
        more_parameters: trained too, without being the module's (adapters of a distillation).
        after_step: called after each step that was taken, before `on_step`: masks are put on again here.
        non_finite: what a step does whose loss or gradient is not finite.

    Raises:
        NonFiniteTraining: such a step where `non_finite` is "raise", or an epoch of nothing else.
    """
    parameters = [p for p in (*module.parameters(), *more_parameters) if p.requires_grad]
    optimizer = make_optimizer(parameters, config)
    device = parameters[0].device
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    if precision == "fp16":
        non_finite = "skip"
    total_steps = epochs * batches.steps
    losses: list[float] = []
    step = skipped = 0
    for epoch in range(epochs):
        loss_sum, seen = 0.0, 0
        for batch in batches.epoch():
            batch = on_device(batch, device)
            factor = learning_rate_factor(step, total_steps, config.warmup)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * factor
            with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
                heads = module(batch.images)
            value = loss(
                tuple(head.float() for head in heads),
                batch,
                Moment(step, total_steps, epoch, epochs),
            )
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(optimizer)
            if non_finite == "raise" or _is_finite(value, parameters):
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                scaler.step(optimizer)
                for hook in after_step:
                    hook()
                number = value.item()
                if not math.isfinite(number):
                    raise NonFiniteTraining(
                        f"the loss became {number} in step {step + 1} of {total_steps}"
                    )
                loss_sum += number * len(batch.labels)
                seen += len(batch.labels)
            else:
                skipped += 1
            scaler.update()
            step += 1
            if on_step is not None:
                on_step(step, total_steps)
        if not seen:
            raise NonFiniteTraining(f"no step of epoch {epoch + 1} had a finite loss and gradient")
        losses.append(loss_sum / seen)
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
    return Fitted(tuple(losses), skipped)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """`batch` with its images and labels on `device`; itself where they are there."""
    return batch._replace(images=batch.images.to(device), labels=batch.labels.to(device))


def learning_rate_factor(step: int, total_steps: int, warmup: float) -> float:
    """Share of the peak learning rate in `step` (from 0): linear warm-up, then half a cosine towards 0.

    Loshchilov & Hutter 2017 (SGDR), equation 5 without restarts. In (0, 1].
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(
    parameters: Sequence[nn.Parameter], config: TrainingConfig
) -> torch.optim.Optimizer:
    """Weight decay on kernels and matrices only (1-d parameters are biases and BatchNorm's)."""
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.ndim > 1],
            "weight_decay": config.weight_decay,
        },
        {
            "params": [parameter for parameter in parameters if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=True,
    )


def finite_weights(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """The state dict as arrays of their own, without BatchNorm's step counters.

    Raises:
        NonFiniteTraining: an array holds NaN or infinity.
    """
    weights = {
        name: tensor.detach().cpu().contiguous().numpy().copy()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise NonFiniteTraining(f"{name} holds NaN or infinity after the last step")
    return weights


def _is_finite(value: Tensor, parameters: Iterable[nn.Parameter]) -> bool:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return all(bool(torch.isfinite(tensor).all()) for tensor in (value.detach(), *gradients))
