"""How good a cost model is on networks that it has not seen, beside how well the device repeats itself."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from latency_models.errors import CostModelRefused

REFUSED_BELOW = 0.8
"""Least Spearman correlation of a cost model that may be used."""
AIM = 0.95
"""Spearman correlation below which there is a warning."""


class FitQuality(NamedTuple):
    """Agreement of two lists of latencies.

    `spearman` and `kendall` (τ-b) are rank correlations in [-1, 1], 0 where one list is constant; `mape` is the mean
    of |predicted − measured| / measured, a share; `within_5` and `within_10` are the shares of networks whose
    error is at most 5 % and 10 %.
    """

    spearman: float
    kendall: float
    mape: float
    within_5: float
    within_10: float


class ProfileReport(BaseModel):
    """What a profile measured, and how well its model predicts.

    The first five figures (see `FitQuality`) are of held-out networks, which were in no fit. The `ceiling_`
    figures are of the same networks measured again at the end, in another order, taken as predictions: no
    model can be expected to do better.

    Attributes:
        num_fit: whole networks that the correction was fitted on.
        num_held_out: held-out networks.
        num_blocks_measured: blocks measured alone.
        num_blocks_used: distinct blocks of the space.
        num_failed: blocks and networks that could not be measured.
        num_rounds, num_rounds_discarded: rounds measured, and those of them thrown away since the reference drifted.
        fastest_ms, slowest_ms: range of the held-out networks' latencies.
        reference_ms: the reference networks' time, geometric mean; all figures are ratios to it, times this.
        drift: the reference's slowest time over its quickest, minus 1, over groups of networks measured together.
        seconds: how long it took; 0 where figures were imported, which do not say.
        energy_source: ``estimated``, or the counter that energies were fitted to (``NVML``, ``RAPL``, ``imported``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    spearman: float
    kendall: float
    mape: float
    within_5: float
    within_10: float
    ceiling_spearman: float
    ceiling_kendall: float
    ceiling_mape: float
    ceiling_within_5: float
    ceiling_within_10: float
    num_fit: int
    num_held_out: int
    num_blocks_measured: int
    num_blocks_used: int
    num_failed: int
    num_rounds: int = 0
    num_rounds_discarded: int = 0
    fastest_ms: float
    slowest_ms: float
    reference_ms: float
    drift: float
    seconds: float
    energy_source: str

    @property
    def meets_aim(self) -> bool:
        """Whether the model ranks as well as it should: to the aim, or as well as measuring twice does.

        Else intervals are wider than held-out errors say.
        """
        return self.spearman >= min(AIM, self.ceiling_spearman)


def fit_quality(predicted: Sequence[float], measured: Sequence[float]) -> FitQuality:
    """Compare two lists of equal length ≥ 2, all > 0."""
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    errors = np.abs(p - y) / y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        spearman, kendall = (
            float(np.nan_to_num(f(p, y).statistic)) for f in (stats.spearmanr, stats.kendalltau)
        )
    return FitQuality(
        spearman=spearman,
        kendall=kendall,
        mape=float(errors.mean()),
        within_5=float(np.mean(errors <= 0.05)),
        within_10=float(np.mean(errors <= 0.10)),
    )


def check_quality(held_out: FitQuality, ceiling: FitQuality) -> None:
    """Raises CostModelRefused where the model ranks held-out networks too badly to be used."""
    if held_out.spearman >= REFUSED_BELOW:
        return
    if ceiling.spearman < REFUSED_BELOW:
        why = (
            "and even measuring the same networks twice gives only "
            f"{ceiling.spearman:.2f}: the machine is too noisy, or the space's networks cost almost the same. "
            "Stop other programs, set a larger profile.budget_s, or search a wider space"
        )
    else:
        why = (
            f"while measuring twice gives {ceiling.spearman:.2f}. Set a larger profile.budget_s and "
            "profile.num_networks, and stop other programs while it measures"
        )
    raise CostModelRefused(
        "the cost model ranks held-out networks too badly: expected a Spearman correlation of at least "
        f"{REFUSED_BELOW}, got {held_out.spearman:.2f}, {why}"
    )
