"""Settings of a `NasBench201Space`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NasBench201SpaceConfig(BaseModel):
    """The macro network around the cell; the defaults are the benchmark's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["nasbench201"] = "nasbench201"
    channels: int = Field(default=16, ge=1, le=1024)
    """Channels of the first stage; they double twice."""
    cells_per_stage: int = Field(default=5, ge=1, le=64)
    """How often the cell is repeated in each of the three stages."""
