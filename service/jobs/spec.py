"""What a job is asked to do, in one canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A search: its config with overrides applied and absolute paths, its seed, and a device file if it is not to measure."""

    config: Mapping[str, Any]
    seed: int
    device_file: str | None = None

    def to_json(self) -> str:
        """Equal specs give equal text, whatever the order of keys."""
        return json.dumps(
            {"config": self.config, "seed": self.seed, "device_file": self.device_file},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        data = json.loads(text)
        return cls(**data)

    def with_budget(self, budget: int) -> JobSpec:
        """The same with `budget` children for each strategy."""
        search = {**(self.config.get("search") or {}), "budget": budget}
        return replace(self, config={**self.config, "search": search})

    @property
    def budget(self) -> int | None:
        """As the config has it; None where it leaves that to the default."""
        budget: int | None = (self.config.get("search") or {}).get("budget")
        return budget

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text, 16 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]
