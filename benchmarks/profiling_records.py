"""What `profiling.py` measures, what it finds, and how predictions are judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from profiling_alternatives import Predicted
from pydantic import BaseModel, ConfigDict

from latency_models import Device, DeviceConfig, ProfileConfig
from latency_models.calibration import TWO_SIDED_90
from latency_models.quality import fit_quality


class Plan(BaseModel):
    """What a cell measures; a file of another plan is not gone on with.

    Attributes:
        space: its digest.
        size: height and width of the images, in pixels.
        device: runtime, threads and batch size.
        profile: the config's; its budget does not count.
        budget_s, scales: a profile each of budget × scale seconds.
        num_test: networks that all methods are judged on.
        alternatives: whether the profile is compared with them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    size: int
    device: DeviceConfig
    profile: ProfileConfig
    budget_s: float
    scales: tuple[float, ...]
    num_test: int
    alternatives: bool

    @property
    def name(self) -> str:
        device = self.device
        return f"{self.size}-{device.runtime}-{device.threads}-{device.batch_size}"

    def scaled(self, scale: float) -> ProfileConfig:
        """As `netlathe latency profile` makes it for that budget."""
        return self.profile.with_budget(self.budget_s * scale)


class Judgement(BaseModel):
    """Agreement with the test networks (see `FitQuality`), beside that of their second measurement with the first.

    `coverage` is the share of networks inside their 90 % interval; None for methods without intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spearman: float
    kendall: float
    mape: float
    within_5: float
    within_10: float
    noise_spearman: float
    noise_kendall: float
    noise_mape: float
    noise_within_5: float
    noise_within_10: float
    coverage: float | None


class Row(BaseModel):
    """One method with one budget. `judged` is None where it failed, and `failure` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    scale: float
    budget_s: float
    num_fit: int = 0
    seconds: float = 0.0
    judged: Judgement | None = None
    predicted_ms: tuple[float, ...] = ()
    std_ms: tuple[float, ...] = ()
    failure: str = ""


class Cell(BaseModel):
    """What was measured and found; latencies in ms, in the order of `test`, the digests of the test networks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: Plan
    device: Device | None = None
    test: tuple[str, ...]
    first_ms: tuple[float, ...] = ()
    second_ms: tuple[float, ...] = ()
    rows: tuple[Row, ...]


def judge(predicted: Predicted, first_ms: Sequence[float], second_ms: Sequence[float]) -> Judgement:
    """Predictions against the smaller of two measurements: disturbances only ever slow a network down.

    It is what a profile's intervals are calibrated on too (`profile_fit`). The noise takes the second measurement
    as a prediction of the first.
    """
    settled = np.minimum(first_ms, second_ms)
    coverage = None
    if predicted.stds_ms is not None:
        inside = np.abs(predicted.values_ms - settled) <= TWO_SIDED_90 * predicted.stds_ms
        coverage = float(inside.mean())
    quality = fit_quality(predicted.values_ms.tolist(), settled.tolist())
    noise = fit_quality(second_ms, first_ms)
    return Judgement(
        **quality._asdict(),
        **{f"noise_{name}": value for name, value in noise._asdict().items()},
        coverage=coverage,
    )
