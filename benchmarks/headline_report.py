"""The table of `headline.py`, and whether the aim is reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headline_records import Pair, SeedRecord, Trained
from scipy import stats

from service.output import print_lines, print_table

AIM = 1.2
"""How many times faster than each peer the found network is to be, at no lower accuracy."""
COLUMNS = ("network", "parameters", "M MACs", "latency ms", "test accuracy %")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Found networks against one peer, a pair a seed.

    Attributes:
        ratios: the peer's latency over the found network's, no exit taken.
        leads: the found network's test accuracy minus the peer's, shares, no exit taken.
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


def pairs_by_peer(records: Sequence[SeedRecord]) -> dict[str, list[Pair]]:
    """The pairs of all seeds, in the seeds' order, by the peer's name."""
    by_peer: dict[str, list[Pair]] = {}
    for record in records:
        for pair in record.pairs:
            by_peer.setdefault(pair.peer.name, []).append(pair)
    return by_peer


def verdict(name: str, pairs: Sequence[Pair]) -> Verdict:
    """On the peer called `name`."""
    return Verdict(
        name=name,
        ratios=tuple(pair.timed.ratio for pair in pairs),
        leads=tuple(pair.found.test_accuracy - pair.peer.test_accuracy for pair in pairs),
    )


def print_report(records: Sequence[SeedRecord], size: int) -> None:
    """Mean ± standard deviation over seeds, every seed's ratios, then a line a peer and the verdict."""
    by_peer = pairs_by_peer(records)
    searches = len({record.search for record in records})
    rows = [row for name, pairs in by_peer.items() for row in _rows(name, pairs)]
    print_table(f"{size}×{size}: seeds {len(records)}, searches {searches}", COLUMNS, rows)
    for record in records:
        print_lines(f"seed {record.seed}: {', '.join(map(_pair, record.pairs))}")
    verdicts = [verdict(name, pairs) for name, pairs in by_peer.items()]
    print_lines(*map(_sentence, verdicts))
    missed = [v.name for v in verdicts if not (v.is_faster and v.is_as_accurate)]
    print_lines(
        f"aim (≥ {AIM}× faster at no lower accuracy): "
        + (f"missed against {', '.join(missed)}" if missed else "reached against all")
    )


def _rows(name: str, pairs: Sequence[Pair]) -> list[list[str]]:
    """The peer, what was found against it, and that with its exits taken."""
    peer, found = [pair.peer for pair in pairs], [pair.found for pair in pairs]
    return [
        _row(name, peer, [pair.timed.peer_ms for pair in pairs], _plain),
        _row(f"found against {name}", found, [pair.timed.found_ms for pair in pairs], _plain),
        _row("  its exits taken", found, [pair.timed.found_exit_ms for pair in pairs], _exit),
    ]


def _row(
    name: str,
    networks: Sequence[Trained],
    latencies_ms: Sequence[float],
    accuracy: Callable[[Trained], float],
) -> list[str]:
    return [
        name,
        f"{statistics.fmean(network.num_params for network in networks):,.0f}",
        f"{statistics.fmean(network.macs / 1e6 for network in networks):.2f}",
        spread(latencies_ms, 4),
        spread([100 * accuracy(network) for network in networks]),
    ]


def _plain(network: Trained) -> float:
    return network.test_accuracy


def _exit(network: Trained) -> float:
    return network.exit_test_accuracy


def _pair(pair: Pair) -> str:
    timed, note = pair.timed, "" if pair.passed else ", nothing fast enough to choose"
    lead = 100 * (pair.found.test_accuracy - pair.peer.test_accuracy)
    return f"{pair.peer.name} {timed.ratio:.2f} ({timed.low:.2f}–{timed.high:.2f}), {lead:+.1f} points{note}"


def _sentence(verdict: Verdict) -> str:
    lead = f"{100 * statistics.fmean(verdict.leads):+.2f} points"
    if verdict.lead_interval is not None:
        low, high = (100 * limit for limit in verdict.lead_interval)
        lead += f" (95 %: {low:+.2f} to {high:+.2f})"
    faster = "fast enough" if verdict.is_faster else "NOT fast enough"
    accurate = "no less accurate" if verdict.is_as_accurate else "LESS accurate"
    return f"against {verdict.name}: {spread(verdict.ratios)} times faster, {faster}; {lead}, {accurate}"


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± sample standard deviation; of one value, that value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
