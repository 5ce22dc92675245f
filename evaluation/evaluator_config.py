"""Where children get their accuracy: the settings of all evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_TABLE_ONLY = (
    "table",
    "label_column",
    "accuracy_column",
    "accuracy_unit",
    "latency_column",
    "energy_column",
)
_RAY_ONLY = ("workers", "address", "max_retries", "straggler_factor")


class EvaluatorConfig(BaseModel):
    """How children are evaluated, and what one child may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ray", "local", "table"] = Field(
        "ray",
        description="ray: in parallel on a Ray cluster; local: here, one after the other; "
        "table: look measured results up, train nothing",
    )
    workers: int | None = Field(
        None, ge=1, le=10_000, description="children at a time; default: one a core (ray only)"
    )
    address: str | None = Field(
        None,
        pattern=r"^[^\s:/]+:\d{1,5}$",
        description="of a Ray cluster that runs already, host:port of its head node (GCS); default: "
        "start one here",
    )
    child_timeout_s: float | None = Field(
        3600, gt=0, description="wall-clock seconds a search child may take; null for no limit"
    )
    child_memory_mb: float | None = Field(
        8192, gt=0, description="memory in MB that training a child may add; null for no limit"
    )
    max_retries: int = Field(
        3, ge=0, le=100, description="new tries of a child whose worker was lost; then it is LOST"
    )
    straggler_factor: float | None = Field(
        3.0,
        gt=1,
        description="a child that takes so many times as long as others of its size suggest, and more than a minute, is "
        "begun anew on another worker, once; before that, a worker that has nothing to do trains it, too; null: never (ray only)",
    )
    table: Path | None = Field(None, description="Parquet or CSV file, one row an architecture")
    label_column: str = Field("arch_str", description="the table's column of architecture names")
    accuracy_column: str | None = Field(None, description="the table's validation accuracies")
    accuracy_unit: Literal["percent", "share"] = Field(
        "percent", description="percent: 0-100; share: 0-1"
    )
    latency_column: str | None = Field(None, description="the table's latencies in ms")
    energy_column: str | None = Field(None, description="the table's energies in mJ")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> EvaluatorConfig:
        if self.kind == "table":
            missing = [name for name in ("table", "accuracy_column") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"kind table needs {' and '.join(missing)}")
        elif unused := self._changed(_TABLE_ONLY):
            raise ValueError(f"{', '.join(unused)}: only for kind table, not {self.kind}")
        if self.kind != "ray" and (unused := self._changed(_RAY_ONLY)):
            raise ValueError(f"{', '.join(unused)}: only for kind ray, not {self.kind}")
        return self

    def _changed(self, names: tuple[str, ...]) -> list[str]:
        """Those settings that are not at their defaults."""
        fields = type(self).model_fields
        return [name for name in names if getattr(self, name) != fields[name].default]
