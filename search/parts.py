"""What one run is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archspace import Network, SearchSpace
from child_models import Dataset
from envs import CostBounds
from evaluation import Costing, Evaluator, Ledger, LimitsConfig, Objective
from latency_models import DeviceFile
from search.config import ScheduleConfig, SearchConfig


@dataclass(frozen=True, slots=True)
class Phase:
    """Something a person may want to see while a run goes on: "search", "finals", "measure", "export"."""

    name: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """Everything a run needs; `service.wiring` makes it from a config.

    `dataset` and `device_file` are None for runs over a table of measured results: nothing is trained or
    measured then, and the export is the architecture alone.
    """

    name: str
    run_dir: Path
    seed: int
    space: SearchSpace
    evaluator: Evaluator
    ledger: Ledger
    costing: Costing
    objective: Objective
    limits: LimitsConfig
    bounds: CostBounds
    search: SearchConfig
    schedule: ScheduleConfig
    training_seed: int
    dataset: Dataset | None
    device_file: DeviceFile | None
    mirror_url: str | None
    config_text: str
    on_event: Callable[[Any], None] = lambda event: None
    on_phase: Callable[[Phase], None] = lambda phase: None

    def resolve(self, choices: tuple[int, ...]) -> Network:
        """The network of a point of the space."""
        return self.space.resolve(choices)
