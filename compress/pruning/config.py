"""What is pruned and how much."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.pruning.schedules import ScheduleName

Method = Literal["l1", "l2", "activation", "taylor", "fisher", "hutchinson", "random"]


class PruneConfig(BaseModel):
    """Structured pruning: channels go, the network becomes smaller. Example in YAML::

    method: taylor
    keep_params: 0.25
    rounds: 3
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: Method = "taylor"
    """How channels are scored."""
    channels: float | None = Field(default=None, gt=0, lt=1)
    """Share of the channels that goes; null where keep_params or keep_macs say how much."""
    keep_params: float | None = Field(default=None, gt=0, lt=1)
    """Share of the parameters that stays, at most."""
    keep_macs: float | None = Field(default=None, gt=0, lt=1)
    """Share of the multiply-accumulates that stays, at most."""
    schedule: ScheduleName = "exponential"
    """How the rounds share the pruning."""
    rounds: int = Field(default=3, ge=1, le=100)
    """Prune, train further, judge; then again."""
    epochs: int = Field(default=10, ge=0, le=10_000)
    """Of training further, a round."""
    ranking: Literal["global", "uniform"] = "global"
    """Whether scores decide how much each group of channels loses, or all lose the same share."""
    multiple: int = Field(default=8, ge=1, le=64)
    """Channels that stay in a group are a multiple of it where its size allows: run times compute channels in blocks, and a
    network of other widths can be slower than the one it was pruned from (docs/pruning.md)."""
    least_share: float = Field(default=0.1, ge=0, le=1)
    """Share of its channels that every group keeps."""
    max_drop: float | None = Field(default=None, gt=0, le=1)
    """Validation accuracy (share 0-1) that may be lost; a round that loses more ends the pruning and is undone."""
    images: int = Field(default=512, ge=1, le=1_000_000)
    """Training images that scores are computed from, where the method looks at data."""

    @model_validator(mode="after")
    def _one_target(self) -> PruneConfig:
        given = [
            name
            for name in ("channels", "keep_params", "keep_macs")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"expected one of channels, keep_params and keep_macs, got {given}")
        return self

    @property
    def target(self) -> tuple[Literal["channels", "keep_params", "keep_macs"], float]:
        """What decides how much goes; half of the parameters stay where nothing is said."""
        if self.channels is not None:
            return "channels", self.channels
        if self.keep_macs is not None:
            return "keep_macs", self.keep_macs
        return "keep_params", 0.5 if self.keep_params is None else self.keep_params
