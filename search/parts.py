"""What one run is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archspace import Network, SearchSpace
from child_models import Dataset
from envs import CostBounds
from evaluation import Costing, Evaluation, Evaluator, Fidelity, Ledger, LimitsConfig, Objective
from latency_models import DeviceFile
from search.config import ScheduleConfig, SearchConfig
from search.halving_config import rungs_of
from search.run_device import RunDevice


@dataclass(frozen=True, slots=True)
class Phase:
    """What a run does now: "search", "measure", "finals" or "export"."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A strategy starts; `logged` of its proposals are in the ledger already."""

    name: str
    budget: float
    logged: int


def _ignore(event: object) -> None:
    """The default listener."""


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """Everything a run needs; `service.wiring` makes it from a config.

    `dataset`, `device` and `device_file` are None for runs over a table of measured results: nothing is trained or
    measured then, and the export is the architecture alone. `device_file` is None, too, where the device was fitted to a
    table: nothing can be measured on it.

    Attributes:
        accuracy_floor: share 0-1 below which a network is no use; picks are above it where any network is.
        supernet: digest of the weights that children of the lowest rung inherit; "" where there is no such rung.
        mirror_dir: folder of ``optuna.db`` and its artifacts, or None for no mirror.
        config_text: the resolved config, for the report.
        accept_drift: measurements count even where they are further from predictions than the config allows.
        on_phase, on_evaluation: told what happens, for progress displays.
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
    accuracy_floor: float
    dataset: Dataset | None
    device: RunDevice | None = None
    device_file: DeviceFile | None
    mirror_dir: Path | None
    config_text: str
    objective_text: str
    supernet: str = ""
    accept_drift: bool = False
    on_phase: Callable[[Phase | SessionStarted], None] = _ignore
    on_evaluation: Callable[[Evaluation], None] = _ignore

    @property
    def rungs(self) -> tuple[Fidelity, ...]:
        """Fidelities of a search with halving, the full one last; () without."""
        if self.search.halving is None:
            return ()
        images = self.dataset.input_shape if self.dataset is not None else None
        return rungs_of(self.search.halving, self.schedule.search, images, self.supernet)

    def resolve(self, choices: tuple[int, ...]) -> Network:
        """The network of a point of the space."""
        return self.space.resolve(choices)
