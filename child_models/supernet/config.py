"""How a supernet is trained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SupernetConfig(BaseModel):
    """Settings of the shared training; all else is as in `TrainingConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(120, ge=1, description="passes over the training images")
    paths: int = Field(1, ge=1, le=64, description="random networks a step")
    sandwich: bool = Field(
        False,
        description="at each step one more random network at its widest, and the same one at its narrowest",
    )

    @property
    def networks_a_step(self) -> int:
        """How many networks each batch is shown to."""
        return self.paths + (2 if self.sandwich else 0)
