"""From a checked config to the objects of a run. Nowhere else are configs turned into objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archspace import NasBench201Space, SearchSpace, Shape, StagedSpace, StagedSpaceConfig
from child_models import Dataset, load_data
from envs import CostBounds
from evaluation import (
    Costing,
    Evaluator,
    ModelCosting,
    ObjectiveBounds,
    RayEvaluator,
    TableCosting,
    TableEvaluator,
    TrainingEvaluator,
)
from latency_models import CostModel, DeviceFile, MeasuredTable, profile_device
from search import SpaceTable, impossible_limits, space_table
from service.errors import UsageError
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
