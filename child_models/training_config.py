"""How children are trained, whatever the number of epochs (which comes from the fidelity)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from child_models.augmentation import AugmentationConfig


class TrainingConfig(BaseModel):
    """Settings of the training loop. The defaults are tuned on the validation sets of digits and shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (Loshchilov & Hutter 2019), or SGD with Nesterov momentum."""
    learning_rate: float = Field(default=0.03, gt=0, le=10)
    """Peak learning rate; the cosine goes from there to 0."""
    weight_decay: float = Field(default=0.2, ge=0, le=10)
    """On the weights of convolutions and linear layers; biases and BatchNorm have none."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD; AdamW ignores it."""
    batch_size: int = Field(default=64, ge=2, le=65536)
    """Images a step; batches of an epoch differ by one image at most."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate grows linearly to its peak."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target that is spread over all classes (Szegedy et al. 2016, section 7)."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest norm of all gradients together; null for no limit."""
    exit_loss_weight: float = Field(default=0.3, ge=0, le=10)
    """The loss is that of the final head plus this times the mean of the exits' losses."""
    max_exit_drop: float = Field(default=0.005, ge=0, le=1)
    """Accuracy (share 0-1) that early exits may cost on validation data, against the final head alone."""
    augmentation: AugmentationConfig | None = None
    """Random changes to training images; null for what suits the data set."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of convolutions and linear layers while training; "auto" is decided by `precision.chosen_precision`."""
    channels_last: bool = True
    """Memory format of maps and weights; faster on CPUs."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Part of every child's own seed."""
