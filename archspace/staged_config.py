"""Settings of a `StagedSpace`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from archspace.network import INT8_BITS
from archspace.operations import parse_operation

DEFAULT_OPERATIONS = ("dwconv_k3", "dwconv_k5", "group_conv_k3", "identity", "zero")


class StageConfig(BaseModel):
    """Layers that share a width; the first one may halve height and width."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    channels: int = Field(ge=1, le=8192)
    """Output channels of each layer at keep ratio 1."""
    layers: int = Field(ge=1, le=64)
    """How many layers there are to decide about."""
    stride: Literal[1, 2] = 1
    """Stride of the stage's first layer; the others have stride 1."""


class StagedSpaceConfig(BaseModel):
    """A stem, stages of layers to decide about, and a linear head.

    Example in YAML::

        kind: staged
        stem_channels: 16
        stages:
          - {channels: 32, layers: 3}
          - {channels: 64, layers: 3, stride: 2}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["staged"] = "staged"
    stem_channels: int = Field(default=16, ge=1, le=8192)
    """Output channels of the stem, a 3×3 convolution that is always there."""
    stem_stride: Literal[1, 2] = 1
    """Stride of the stem; 2 halves height and width at once."""
    stages: tuple[StageConfig, ...] = Field(min_length=1, max_length=32)
    """From the image to the head."""
    operations: tuple[str, ...] = Field(default=DEFAULT_OPERATIONS, min_length=1)
    """What a layer may be: conv_k{1,3,5}, dwconv_k{3,5,7}, group_conv_k{3,5}, mbconv_k{3,5,7}_e{1..8}, identity, zero."""
    keep_ratios: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.25, 0.5, 0.75, 1.0), min_length=1
    )
    """Shares of a stage's channels that a layer may keep, growing."""
    skip_connections: bool = True
    """Whether each layer decides about a skip connection."""
    early_exits: bool = True
    """Whether there may be an early exit after each stage but the last."""
    bits: tuple[int, ...] = Field(default=(32,), min_length=1)
    """Bits that the weights of a layer may have: 32, 2 to 8. 32 is float32; networks with 8 or fewer run in INT8, as a whole."""
    channel_multiple: int = Field(default=8, ge=1, le=256)
    """Channels after the keep ratio are rounded to a multiple of this, and never below it."""
    group_width: int = Field(default=8, ge=1, le=256)
    """Channels in a group of group_conv; the greatest common divisor with the channels is used."""

    @field_validator("operations")
    @classmethod
    def _operations_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            parse_operation(name)
        _unique("operations", names)
        return names

    @field_validator("keep_ratios")
    @classmethod
    def _ratios_grow(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        _unique("keep_ratios", ratios)
        if list(ratios) != sorted(ratios):
            raise ValueError(f"keep_ratios must grow, got {list(ratios)}: sort them")
        return ratios

    @field_validator("bits")
    @classmethod
    def _bits_can_be_stored(cls, bits: tuple[int, ...]) -> tuple[int, ...]:
        unknown = [each for each in bits if each != 32 and not 2 <= each <= INT8_BITS]
        if unknown:
            raise ValueError(f"expected 32, or 2 to {INT8_BITS}, got {unknown[0]}")
        _unique("bits", bits)
        return bits

    @model_validator(mode="after")
    def _some_operation_fits_everywhere(self) -> StagedSpaceConfig:
        useless = {"identity"} if self.skip_connections else {"identity", "zero"}
        if set(self.operations) <= useless:
            raise ValueError(
                f"operations {list(self.operations)} cannot change a map's shape"
                f"{'' if self.skip_connections else ' without skip_connections'}: "
                "add a convolution, for example 'dwconv_k3'"
            )
        return self

    @property
    def integer_bits(self) -> tuple[int, ...]:
        """Those of `bits` that run in INT8."""
        return tuple(bits for bits in self.bits if bits <= INT8_BITS)

    def physical_channels(self, stage: StageConfig) -> tuple[int, ...]:
        """Channels that a layer of `stage` gives, one number a keep ratio."""
        multiple = self.channel_multiple
        return tuple(
            max(multiple, int(stage.channels * ratio / multiple + 0.5) * multiple)
            for ratio in self.keep_ratios
        )


def _unique(field: str, values: tuple[object, ...]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"{field} repeats an entry: {list(values)}")
