"""From a checked config to the objects of a run. Nowhere else are configs turned into objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archspace import SearchSpace
from child_models import Dataset
from evaluation import (
    Costing,
)
from latency_models import CostModel, DeviceFile, MeasuredTable
from search import SpaceTable
from service.run_config import RunConfig

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0-1."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched, on what device: everything that exists before a child is trained."""

    config: RunConfig
    dataset: Dataset | None
    space: SearchSpace
    device_file: DeviceFile | None
    cost_model: CostModel | None
    costing: Costing
    table: SpaceTable | None
    measured: MeasuredTable | None
