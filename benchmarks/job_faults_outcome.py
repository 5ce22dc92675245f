"""What the rows of `job_faults.py` give: cases to carry out, and what came of each; the table of them all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


class LeftOutError(Exception):
    """A row cannot be carried out on this machine; its text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one job.

    Attributes:
        equal: trial table and export are the undisturbed run's, byte for byte; None where they cannot be.
        lost, doubled: results that were there before the fault and are not, or not the same; children that were paid twice.
        states: what the job was after the fault, each with its reason.
        recovered_s: from the fault until a process was at work again; None where the job was over, or nothing had to recover.
        as_wanted: what this fault asks for besides.
    """

    row: str
    fault: str
    after_s: float | None = None
    equal: bool | None = None
    lost: int = 0
    doubled: int = 0
    successes: int = 0
    states: tuple[str, ...] = ()
    recovered_s: float | None = None
    as_wanted: bool = True
    note: str = ""

    @property
    def good(self) -> bool:
        """Nothing lost, nothing doubled, equal, and as it should be."""
        once = self.equal is None or self.successes == 1
        return (
            self.equal is not False
            and not self.lost
            and not self.doubled
            and once
            and self.as_wanted
        )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One job and one fault, in a place of its own: independent of all others.

    Attributes:
        ray: it starts Ray: such cases are long, and only some of them run at a time.
    """

    row: str
    fault: str
    do: Callable[[], Outcome]
    ray: bool = False

    def outcome(self) -> Outcome:
        """Never raises: a case that cannot be carried to its end is an outcome, too, and no good one."""
        try:
            return self.do()
        except Exception as error:
            note = f"{type(error).__name__}: {error}"
            return Outcome(row=self.row, fault=self.fault, as_wanted=False, note=note)


def table(outcomes: Iterable[Outcome], left_out: Mapping[str, str]) -> list[str]:
    """One line a fault, in order of the rows' names, then one for each row that was left out, with the reason."""
    lines = [
        "| row | fault | jobs | lost | doubled | equal | as wanted | recovered s, median (most) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    faults: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        faults.setdefault((outcome.row, outcome.fault), []).append(outcome)
    lines += [_line(row, fault, own) for (row, fault), own in sorted(faults.items())]
    return lines + [
        f"| {row} | **left out**: {why} | 0 | – | – | – | – | – |" for row, why in left_out.items()
    ]


def _line(row: str, fault: str, own: list[Outcome]) -> str:
    times = [o.recovered_s for o in own if o.recovered_s is not None]
    took = f"{statistics.median(times):.1f} ({max(times):.1f})" if times else "–"
    compared = [o for o in own if o.equal is not None]
    equal = f"{sum(o.equal is True for o in compared)}/{len(compared)}" if compared else "–"
    good = f"{sum(o.good for o in own)}/{len(own)}"
    lost, doubled = sum(o.lost for o in own), sum(o.doubled for o in own)
    return f"| {row} | {fault} | {len(own)} | {lost} | {doubled} | {equal} | {good} | {took} |"
