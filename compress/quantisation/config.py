"""Settings of a quantisation: of a trained network, and of the children of a search."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.quantisation.calibration import Method
from compress.quantisation.plan import BitPlan, Bits
from compress.quantisation.post_training import WeightCalibration


class QuantiseConfig(BaseModel):
    """How a trained network is quantised."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Literal["ptq", "qat", "codebook"] = "ptq"
    """After training; while training further; or with a codebook (k-means) a layer, centroids trained if `epochs` > 0."""
    scope: Literal["weights", "maps", "full"] = "full"
    """What is rounded: weights, maps (activations), or both. Only "full" with 8-bit maps is executed in INT8."""
    weight_bits: Bits | BitPlan = 8
    """Of weights: the same everywhere, or by kind of layer."""
    map_bits: int = Field(default=8, ge=2, le=8)
    """Of maps."""
    max_size_bytes: int | None = Field(default=None, gt=0)
    """Bits are lowered from `weight_bits` on until the packed weights fit (docs/quantisation.md); null for no limit."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Of a call with one image, no exit taken: executed in float32 where that holds it, else in INT8; null for no limit."""
    max_energy_mj: float | None = Field(default=None, gt=0)
    """Of the same call, and as `max_latency_ms`."""
    symmetric: bool = True
    """Weight grids symmetric about 0; affine ones are not executed in INT8. Maps always have affine grids."""
    per_channel: bool = True
    """One weight scale an output channel, else one a layer."""
    weight_method: Method = "mse"
    """How the range of weights is chosen."""
    weight_percentile: float = Field(default=99.9, gt=50, le=100)
    """Percentage of the weights inside the range; for "percentile"."""
    map_method: Method = "mse"
    """How the range of a map is chosen."""
    map_percentile: float = Field(default=99.99, gt=50, le=100)
    """Percentage of a map's numbers inside the range; for "percentile"."""
    calibration_images: int = Field(default=512, ge=1, le=1_000_000)
    """Training images that maps are calibrated on, without augmentation."""
    epochs: int = Field(default=10, ge=0, le=10_000)
    """Of training in modes "qat" (at least 1) and "codebook"."""
    learning_rate: float = Field(default=0.003, gt=0, le=10)
    """Peak, in place of the training settings' own: weights are near where they should be."""
    scales: Literal["ste", "lsq"] = "ste"
    """Of mode "qat": scales follow the ranges seen, or are learned."""
    weight_noise: float = Field(default=0.0, ge=0, le=1)
    """Of mode "qat": standard deviation of noise on the weights, as a share of the scale."""
    freeze_share: float = Field(default=0.3, ge=0, le=1)
    """Last share of the steps in which scales and ranges stay."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.mode == "qat" and self.epochs < 1:
            raise ValueError('epochs: mode "qat" trains; expected at least 1, or mode "ptq"')
        if self.mode == "codebook" and self.scope == "maps":
            raise ValueError('scope: a codebook is for weights; expected "weights" or "full"')
        if self.weight_noise and self.mode != "qat":
            raise ValueError('weight_noise: only mode "qat" has it; expected 0')
        if self.max_size_bytes is not None and self.scope == "maps":
            raise ValueError("max_size_bytes: float32 weights do not get smaller; expected null")
        return self

    @model_validator(mode="after")
    def _could_be_int8(self) -> Self:
        grids = self.mode != "codebook" and self.symmetric
        if self.limits_calls and not (self.scope == "full" and self.map_bits == 8 and grids):
            raise ValueError(
                "max_latency_ms, max_energy_mj: nothing but INT8 changes what a call costs; expected scope full, map_bits 8, "
                "symmetric weights and no codebook, or no such limit"
            )
        return self

    @property
    def limits_calls(self) -> bool:
        """Whether latency or energy have a limit."""
        return self.max_latency_ms is not None or self.max_energy_mj is not None

    @property
    def plan(self) -> BitPlan:
        """`weight_bits` by kind of layer."""
        bits = self.weight_bits
        return bits if isinstance(bits, BitPlan) else BitPlan.uniform(bits)

    @property
    def weight_calibration(self) -> WeightCalibration:
        """What `weight_forms` needs."""
        return WeightCalibration(
            codebook=self.mode == "codebook",
            symmetric=self.symmetric,
            per_channel=self.per_channel,
            method=self.weight_method,
            percentile=self.weight_percentile,
        )


class ChildQuantiseConfig(BaseModel):
    """How children get the bits that the search decided about, so that their score includes what that costs.

    Weights get the layer's bits (symmetric, one scale an output channel), maps 8: what INT8 kernels execute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Literal["ptq", "qat"] = "ptq"
    """After the training in float32; or trained further while quantised, for `epochs` more."""
    epochs: int = Field(default=0, ge=0, le=10_000)
    """Of mode "qat", on top of the schedule's own: at least 1."""
    learning_rate: float = Field(default=0.003, gt=0, le=10)
    """Peak, of mode "qat"."""
    scales: Literal["ste", "lsq"] = "ste"
    """Of mode "qat": scales follow the ranges seen, or are learned."""
    calibration_images: int = Field(default=256, ge=1, le=1_000_000)
    """Training images that maps are calibrated on, without augmentation; each child's own maps."""
    weight_method: Method = "mse"
    """How the range of weights is chosen."""
    map_method: Method = "mse"
    """How the range of a map is chosen."""

    @model_validator(mode="after")
    def _epochs_fit(self) -> Self:
        if (self.epochs > 0) != (self.mode == "qat"):
            raise ValueError('epochs: expected at least 1 in mode "qat", and 0 in mode "ptq"')
        return self

    @property
    def settings(self) -> QuantiseConfig:
        """The same for `quantise`; which bits, the network says."""
        return QuantiseConfig(**self.model_dump())
