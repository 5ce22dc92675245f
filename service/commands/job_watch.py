"""`netlathe watch`, and the waiting of `netlathe submit --wait`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.jobs.answers import JobAnswer, JobPlan
from service.jobs.client import JobsAt, JobsClient
from service.jobs.progress import Pace, pace, utilisation
from service.jobs.states import ENDED, JobState
from service.jobs.wording import percent, progress_text
from service.output import PIPE_WIDTH
from service.progress import duration

_WATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """How a job is, and how fast its search was while it was watched; what follows the search does not count.

    `utilisation` (share 0-1) is about: a child counts when it ends, with all its training.
    """

    job: JobAnswer
    pace: Pace | None
    utilisation: float | None

    def line(self) -> str:
        """All of it in one line."""
        speed = f", {self.speed_text()}" if self.speed_text() else ""
        return f"{self.job.state}: {progress_text(self.job.sessions)}{speed}"

    def speed_text(self) -> str:
        """ "" while it is too early to tell."""
        parts = []
        if self.pace is not None:
            low, high = self.pace.hours_low, self.pace.hours_high
            parts.append(f"{self.pace.per_hour:.0f} trials/h")
            if high > 0:
                parts.append(f"{duration(3600 * low)} to {duration(3600 * high)} left")
        if self.utilisation is not None:
            parts.append(f"workers about {100 * self.utilisation:.0f} % busy")
        return ", ".join(parts)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **self.job.model_dump(mode="json"),
            "pace": None if self.pace is None else asdict(self.pace),
            "utilisation": self.utilisation,
        }

    def picture(self) -> RenderableType:
        """For a terminal."""
        job = self.job
        table = Table(title_justify="left", title_style="bold", title=f"{job.id}: {job.state}")
        for column in ("strategy", "children", "Pareto size", "best accuracy %", "ms, predicted"):
            table.add_column(column, justify="left" if column == "strategy" else "right")
        for s in job.sessions:
            ms = "–" if s.best_latency_ms is None else f"{s.best_latency_ms:.4g}"
            paid = f"{s.paid:g}/{s.budget:g}"
            table.add_row(s.name, paid, str(s.front), percent(s.best_accuracy), ms)
        return Group(table, Text(self.speed_text() or job.message or "…"))


def run_watch(job_id: str, at: JobsAt, *, as_json: bool) -> None:
    """Show a job whenever something has changed, until it has ended or is paused."""
    with at.opened() as client:
        if as_json:
            _follow(client, job_id, lambda look: _write(json.dumps(look.facts())))
            return
        console = Console(highlight=False)
        job = look_on(client, job_id, console)
        _write(f"{job.id}: {job.state} {job.message}".rstrip())


def look_on(client: JobsClient, job_id: str, console: Console) -> JobAnswer:
    """Show a job on `console` until it has ended or is paused: live on a terminal, else a line a change."""
    if not console.is_terminal:
        console.width = PIPE_WIDTH

        def tell(look: Look) -> None:
            if look.line() != told[-1]:
                told.append(look.line())
                console.print(look.line(), markup=False)

        told = [""]
        return _follow(client, job_id, tell)
    with Live(console=console, auto_refresh=False) as live:
        return _follow(client, job_id, lambda look: live.update(look.picture(), refresh=True))


def _follow(client: JobsClient, job_id: str, show: Callable[[Look], None]) -> JobAnswer:
    for look in _looks(client, job_id):
        show(look)
    return look.job


def _looks(client: JobsClient, job_id: str) -> Iterator[Look]:
    """One whenever something has changed; the last one is of a job that has ended or is paused."""
    plan = client.when_reachable(lambda: client.plan(job_id))
    first, began = client.when_reachable(lambda: client.job(job_id)), time.monotonic()
    seen: JobAnswer | None = None
    seconds, searches = 0.0, True
    while True:
        job = client.when_reachable(lambda: client.job(job_id)) if seen else first
        if searches:
            seconds = time.monotonic() - began
            searches = _left(job, plan) > 0
        if job != seen:
            seen = job
            yield _look(job, first, plan, seconds)
        if job.state in ENDED or job.state == JobState.PAUSED:
            return
        time.sleep(_WATCH_S)


def _look(job: JobAnswer, first: JobAnswer, plan: JobPlan, seconds: float) -> Look:
    left = _left(job, plan)
    return Look(
        job,
        pace(job.sessions, first.sessions, seconds, left),
        utilisation(job.sessions, first.sessions, seconds, plan.workers),
    )


def _left(job: JobAnswer, plan: JobPlan) -> float:
    """Children that are still to be paid for; of sessions that have not begun, too."""
    begun = sum(max(0.0, plan.budget - s.paid) for s in job.sessions[: plan.sessions])
    return begun + max(0, plan.sessions - len(job.sessions)) * plan.budget


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
