"""The live picture of a run: how far, how good, how fast, and what each worker does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.output import talk

REFRESH_S = 1.0
PLAIN_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """What one worker does now."""

    name: str
    doing: str
    seconds: float


@dataclass
class RunProgress:
    """State of the display; written by the run, read by the drawing thread."""

    phase: str = "starting"
    detail: str = ""
    session: str = ""
    done: float = 0.0
    budget: float = 0.0
    best_accuracy: float | None = None
    pareto_size: int = 0
    failed: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
    session_started: float = field(default_factory=time.monotonic)
    new_since_start: float = 0.0
    workers: Callable[[], Sequence[WorkerLine]] = tuple

    def begin_session(self, name: str, budget: float) -> None:
        """A strategy starts: counters go back to nothing."""
        self.session, self.budget = name, budget
        self.done = self.new_since_start = 0.0
        self.best_accuracy = None
        self.pareto_size = self.failed = self.rejected = 0
        self.session_started = time.monotonic()

    @property
    def trials_per_hour(self) -> float | None:
        """Children paid for in this process per hour; None before there are two."""
        seconds = time.monotonic() - self.session_started
        return 3600 * self.new_since_start / seconds if self.new_since_start >= 2 else None

    @property
    def seconds_left(self) -> float | None:
        """Of this session, at the speed so far."""
        rate = self.trials_per_hour
        return None if not rate else 3600 * (self.budget - self.done) / rate

    def line(self) -> str:
        """All of it in one line, for logs and pipes."""
        parts = [f"{self.phase}{': ' + self.detail if self.detail else ''}"]
        if self.phase == "search":
            parts = [f"{self.session}: {self.done:g}/{self.budget:g} children"]
            if self.best_accuracy is not None:
                parts.append(f"best {100 * self.best_accuracy:.1f} %")
            parts.append(f"Pareto {self.pareto_size}")
            if self.failed or self.rejected:
                parts.append(f"{self.failed} failed, {self.rejected} over a limit")
            if (rate := self.trials_per_hour) is not None:
                parts.append(f"{rate:.0f}/h")
            if (left := self.seconds_left) is not None:
                parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """ "45 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class ProgressDisplay:
    """Draws a `RunProgress`: live on a terminal, a plain line now and then elsewhere."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self._live = Live(console=talk, auto_refresh=False, transient=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> ProgressDisplay:
        if talk.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        if talk.is_terminal:
            self._live.stop()

    def _run(self) -> None:
        last_line, last_time = "", 0.0
        while not self._stop.wait(REFRESH_S):
            if talk.is_terminal:
                self._live.update(self._picture(), refresh=True)
                continue
            line = self._progress.line()
            new_phase = line.split(":")[0] != last_line.split(":")[0]
            if line != last_line and (new_phase or time.monotonic() - last_time > PLAIN_EVERY_S):
                talk.print(line)
                last_line, last_time = line, time.monotonic()

    def _picture(self) -> RenderableType:
        progress = self._progress
        elapsed = duration(time.monotonic() - progress.started)
        rows: list[RenderableType] = [Text(f"{progress.line()}  ({elapsed} so far)")]
        if progress.phase == "search" and progress.budget:
            rows.append(ProgressBar(total=progress.budget, completed=progress.done, width=60))
        table = Table.grid(padding=(0, 2))
        for worker in progress.workers():
            table.add_row(Text(worker.name, style="dim"), worker.doing, f"{worker.seconds:.0f} s")
        rows.append(table)
        return Group(*rows)
