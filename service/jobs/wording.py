"""How figures of jobs read."""

from __future__ import annotations

from collections.abc import Sequence

from service.jobs.progress import SessionProgress


def percent(share: float | None) -> str:
    """ "97.3", or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}"


def progress_text(sessions: Sequence[SessionProgress]) -> str:
    """How far a job is, strategy by strategy."""
    if not sessions:
        return "nothing evaluated yet"
    return "; ".join(
        f"{s.name} {s.paid:g}/{s.budget:g} children, Pareto size {s.front}, best {percent(s.best_accuracy)} %"
        for s in sessions
    )
