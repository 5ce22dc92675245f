"""``summary.json``: what a finished run found, in one file that other programs can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from latency_models import Cost
from search.run_errors import DamagedRun, NotARun, OtherVersion

SCHEMA_VERSION = 1
SUMMARY_FILE = "summary.json"

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""How pydantic reads the classes below: no unknown keys, no NaN."""


@dataclass(frozen=True, kw_only=True)
class PickSummary:
    """One network that was picked, after the full schedule. Accuracies are shares 0-1.

    Attributes:
        pick: best, knee, fastest, or a digest.
        search_accuracy: validation, short schedule of the search; standard errors are √(a(1−a)/n).
        test_accuracy: test data, full schedule, exits taken; None where nothing was trained (runs over tables).
        latency_predicted: expected at the shares measured in the search. `latency_measured`: on the device, at
            the shares after the full schedule; None where nothing was measured.
        latency_worst_predicted: no exit taken; `latency_worst_measured` likewise.
        size_bytes: of the stored weights; None in summaries of older releases.
        exit_thresholds: one an exit. exit_shares: one a head, the final one last; of validation samples.
        picked_after_test: chosen after test results were known: its test accuracy is not an unbiased estimate.
        export_dir: folder of its export relative to the run's, or None.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    pick: str
    digest: str
    label: str
    search_accuracy: float
    search_standard_error: float
    latency_predicted: Cost
    latency_worst_predicted: Cost
    energy: Cost
    energy_worst: Cost
    num_params: int
    macs: int
    size_bytes: int | None = None
    test_accuracy: float | None = None
    test_standard_error: float | None = None
    test_accuracy_no_exit: float | None = None
    latency_measured: Cost | None = None
    latency_worst_measured: Cost | None = None
    exit_thresholds: tuple[float, ...] = ()
    exit_shares: tuple[float, ...] = (1.0,)
    picked_after_test: bool = False
    export_dir: str | None = None

    @property
    def latency(self) -> Cost:
        """Measured where it was measured, else predicted."""
        return self.latency_measured or self.latency_predicted


@dataclass(frozen=True, kw_only=True)
class SessionSummary:
    """How one strategy did with its budget.

    `hypervolume` (accuracy share × ms) has the same reference point for all sessions of a run. The counts are
    of new proposals.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    strategy: str
    seed: int
    budget: float
    spent: float
    best_reward: float | None
    best_accuracy: float | None
    hypervolume: float
    front_size: int
    failed: int
    rejected: int

    @property
    def name(self) -> str:
        """As in the trial table."""
        return f"{self.strategy}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class ProfileSummary:
    """How well the cost model predicts latency on held-out networks; shares 0-1.

    The `noise_` figures compare two measurements of one network: nothing can predict better than that. With
    `left_one_out`, the device was fitted to a table: each of `held_out` measured networks was predicted by a fit to all
    others.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    spearman: float
    mape: float
    within_10: float
    held_out: int
    noise_spearman: float | None = None
    noise_mape: float | None = None
    noise_within_10: float | None = None
    energy_source: str = ""
    left_one_out: bool = False

    @property
    def judged_on(self) -> str:
        """What the figures are of, in words."""
        if self.left_one_out:
            return f"{self.held_out} measured networks, each left out of the fit in its turn"
        return f"{self.held_out} held-out networks"


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What children were trained on; `train`, `validation` and `test` are numbers of images."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    digest: str
    input_shape: tuple[int, int, int]
    num_classes: int
    train: int
    validation: int
    test: int


@dataclass(frozen=True, kw_only=True)
class SpaceSummary:
    """What could be chosen; see `archspace.SpaceSize`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: str
    digest: str
    num_decisions: int
    sequences: int
    distinct_low: int
    distinct_high: int


@dataclass(frozen=True, kw_only=True)
class RecalibrationSummary:
    """One barrier at which promising children were measured.

    `count`: after so many proposals. `networks` of them were measured, and lay `drift` (share, median) from what the
    cost model predicted; `version` is the model's from then on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    session: str
    count: int
    networks: int
    drift: float
    version: int


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A finished run.

    Attributes:
        session: name of the main session, whose front and picks these are.
        finished_at: ISO 8601 with offset.
        device: name and run time of the device; "" for runs over a table.
        objective, limits: in words.
        data, profile: None for runs over a table.
        recalibrations: of all sessions, in order.
        utilisation: share of core time spent training children during the search, or None.
        seconds: wall-clock seconds by phase.
        paths: what is where, relative to the run's folder: export, report, trials …
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    session: str
    seed: int
    finished_at: str
    netlathe_version: str
    space: SpaceSummary
    device: str
    objective: str
    limits: str
    picks: tuple[PickSummary, ...]
    sessions: tuple[SessionSummary, ...]
    data: DataSummary | None = None
    profile: ProfileSummary | None = None
    recalibrations: tuple[RecalibrationSummary, ...] = ()
    utilisation: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Text that `from_json` reads. Raises ValueError on NaN or infinity, which JSON does not have."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunSummary:
        """Inverse of `to_json`.

        Raises:
            OtherVersion: another `schema_version`.
            DamagedRun: not JSON, or fields missing, unknown or of wrong types; the message names them.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedRun(f"not JSON: {error}") from error
        if not isinstance(data, dict):
            raise DamagedRun(f"expected a JSON object, got {type(data).__name__}")
        _check_version(data)
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DamagedRun(f"{place}: {first['msg']}") from error


def merged_picks(picks: Sequence[PickSummary]) -> list[PickSummary]:
    """One entry a network: picks that coincide are named together, as in ``"knee = fastest"``."""
    merged: dict[str, PickSummary] = {}
    for pick in picks:
        known = merged.get(pick.digest)
        merged[pick.digest] = replace(known, pick=f"{known.pick} = {pick.pick}") if known else pick
    return list(merged.values())


def read_summary(run_dir: Path) -> RunSummary:
    """``summary.json`` of a finished run. Raises NotARun, DamagedRun, OtherVersion."""
    path = run_dir / SUMMARY_FILE
    if not path.is_file():
        if (run_dir / "run.yaml").is_file():
            raise NotARun(
                f"{run_dir} has not ended yet: `netlathe resume {run_dir}` goes on with it"
            )
        raise NotARun(f"{run_dir} is not a run: it has neither {SUMMARY_FILE} nor run.yaml")
    try:
        return RunSummary.from_json(path.read_text(encoding="utf-8"))
    except OtherVersion as error:
        raise OtherVersion(f"{path}: {error}") from error
    except (DamagedRun, UnicodeDecodeError, OSError) as error:
        raise DamagedRun(f"{path} cannot be read: {error}") from error


def _check_version(data: dict[str, Any]) -> None:
    found = data.get("schema_version")
    if found != SCHEMA_VERSION:
        wrote = data.get("netlathe_version", "unknown")
        raise OtherVersion(
            f"schema_version is {found!r}, this netlathe reads {SCHEMA_VERSION}: "
            f"use the version that wrote it (netlathe {wrote})"
        )


@cache
def _adapter() -> TypeAdapter[RunSummary]:
    return TypeAdapter(RunSummary)
