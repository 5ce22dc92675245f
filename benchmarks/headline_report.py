"""The table of `headline.py`, and whether the aim is reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from headline_records import FOUND, SeedRecord, Timed, Trained
from scipy import stats

from service.output import print_lines, print_table

AIM = 1.2
"""How many times faster than each peer the found network is to be, at no lower accuracy."""
COLUMNS = (
    "network", "parameters", "M MACs", "latency ms", "times slower than found", "test accuracy %",
    "found − it, points (95 %)",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One peer against the found networks of the same seeds.

    Attributes:
        ratios: the peer's latency over the found network's, one a seed, no exit taken.
        leads: the found network's test accuracy minus the peer's, shares, one a seed, no exit taken.
    """

    name: str
    ratios: tuple[float, ...]
    leads: tuple[float, ...]

    @property
    def is_faster(self) -> bool:
        return statistics.fmean(self.ratios) >= AIM

    @property
    def is_as_accurate(self) -> bool:
        """On average over the seeds; the interval says how sure that is."""
        return statistics.fmean(self.leads) >= 0

    @property
    def lead_interval(self) -> tuple[float, float] | None:
        """95 %, by Student's t; None for one seed."""
        if len(self.leads) < 2:
            return None
        half = float(stats.t.ppf(0.975, len(self.leads) - 1) * stats.sem(self.leads))
        mean = statistics.fmean(self.leads)
        return mean - half, mean + half


def verdicts(records: Sequence[SeedRecord]) -> list[Verdict]:
    """One a peer."""
    names = [trained.name for trained in records[0].networks[1:]]
    return [
        Verdict(
            name=name,
            ratios=tuple(_timed(record, name).ratio for record in records),
            leads=tuple(
                _trained(record, FOUND).test_accuracy - _trained(record, name).test_accuracy
                for record in records
            ),
        )
        for name in names
    ]


def print_report(records: Sequence[SeedRecord], size: int) -> None:
    """Mean ± standard deviation over seeds, then one line a peer and the verdict."""
    judged = verdicts(records)
    rows = [_row(records, FOUND, None), _exit_row(records)]
    rows += [_row(records, verdict.name, verdict) for verdict in judged]
    searches = len({record.search for record in records})
    title = f"{size}×{size}, {len(records)} seeds of {searches} searches"
    print_table(title, COLUMNS, rows)
    for record in records:
        rule = "passed the rule" if record.passed else "no pick passed the rule: least shortfall"
        inside = ", ".join(
            f"{t.name} {t.ratio:.2f} ({t.low:.2f}–{t.high:.2f})" for t in record.timed[1:]
        )
        print_lines(
            f"seed {record.seed}: {record.pick} of search {record.search}, {rule}; {inside}"
        )
    print_lines(*(_sentence(verdict) for verdict in judged))
    missed = [v.name for v in judged if not (v.is_faster and v.is_as_accurate)]
    print_lines(
        f"aim (≥ {AIM}× faster at no lower accuracy): "
        + (f"missed against {', '.join(missed)}" if missed else "reached against all")
    )


def _sentence(verdict: Verdict) -> str:
    faster = "faster enough" if verdict.is_faster else "NOT fast enough"
    accurate = "no less accurate" if verdict.is_as_accurate else "LESS accurate"
    return f"against {verdict.name}: {spread(verdict.ratios)} times faster, {faster}; {accurate}"


def _row(records: Sequence[SeedRecord], name: str, verdict: Verdict | None) -> list[str]:
    def over_seeds(value: Callable[[Trained], float]) -> list[float]:
        return [value(_trained(record, name)) for record in records]

    return [
        f"{name}, no exit taken" if verdict is None else name,
        f"{statistics.fmean(over_seeds(lambda t: t.num_params)):,.0f}",
        f"{statistics.fmean(over_seeds(lambda t: t.macs / 1e6)):.2f}",
        spread([_timed(record, name).latency_ms for record in records], 4),
        "1" if verdict is None else spread(verdict.ratios),
        spread(over_seeds(lambda t: 100 * t.test_accuracy)),
        "" if verdict is None else _lead(verdict),
    ]


def _exit_row(records: Sequence[SeedRecord]) -> list[str]:
    return [
        f"{FOUND}, exits taken",
        "",
        "",
        spread([record.exit_latency_ms for record in records], 4),
        spread([r.exit_latency_ms / _timed(r, FOUND).latency_ms for r in records]),
        spread([100 * _trained(record, FOUND).exit_test_accuracy for record in records]),
        "",
    ]


def _lead(verdict: Verdict) -> str:
    mean = 100 * statistics.fmean(verdict.leads)
    if verdict.lead_interval is None:
        return f"{mean:+.2f}"
    low, high = (100 * limit for limit in verdict.lead_interval)
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def _trained(record: SeedRecord, name: str) -> Trained:
    return next(trained for trained in record.networks if trained.name == name)


def _timed(record: SeedRecord, name: str) -> Timed:
    return next(timed for timed in record.timed if timed.name == name)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± sample standard deviation; of one value, that value."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
