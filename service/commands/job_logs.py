"""`netlathe logs`: what a job's processes said, and what is known of one trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from service.errors import NotFoundError, UsageError
from service.jobs.answers import LogPart
from service.jobs.client import JobsAt, JobsClient
from service.jobs.states import ENDED, JobState
from service.jobs.trial_answer import TrialAnswer, TrialRow
from service.jobs.wording import percent
from service.output import print_json, print_lines
from service.progress import duration

_FOLLOW_S = 0.5


def run_logs(job_id: str, at: JobsAt, *, follow: bool, trial: str | None, as_json: bool) -> None:
    """The end of the log, or all of it on and on; or one trial instead."""
    if follow and trial is not None:
        raise UsageError("expected --follow or --trial, got both")
    with at.opened() as client:
        if trial is not None:
            _show_trial(client.trial(job_id, trial), as_json=as_json)
        elif follow:
            _follow(client, job_id, _write_json if as_json else _write)
        else:
            _show_end(client, job_id, as_json=as_json)


def _show_end(client: JobsClient, job_id: str, *, as_json: bool) -> None:
    text = client.log_end(job_id)
    if as_json:
        print_json({**client.job(job_id).model_dump(mode="json"), "log_end": text})
        return
    if not text:
        raise NotFoundError(f"job {job_id} has no log yet: no server has taken it")
    sys.stdout.write(text)


def _follow(client: JobsClient, job_id: str, write: Callable[[LogPart], None]) -> None:
    """From the log's beginning until the job has ended or is paused."""
    offset = 0
    while True:
        # the state first: what was said before it is in the part that is read after it
        state = client.when_reachable(lambda: client.job(job_id)).state
        part = client.when_reachable(lambda at=offset: client.log_part(job_id, at))  # type: ignore[misc]
        if part.text:
            write(part)
        if part.next > offset:
            offset = part.next
            continue
        if state in ENDED or state == JobState.PAUSED:
            return
        time.sleep(_FOLLOW_S)


def _write(part: LogPart) -> None:
    sys.stdout.write(part.text)
    sys.stdout.flush()


def _write_json(part: LogPart) -> None:
    sys.stdout.write(part.model_dump_json() + "\n")
    sys.stdout.flush()


def _show_trial(found: TrialAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for row in found.rows:
        print_lines(*_lines(row))
    for line in found.log:
        print_lines(f"{line.time} {line.level} {line.message}")


def _lines(row: TrialRow) -> list[str]:
    reward = "" if row.reward is None else f", reward {row.reward:.4f}"
    paid = "" if row.paid is None else f", paid {row.paid:g}"
    lines = [
        f"{row.session}, trial {row.sequence}: {row.digest}",
        *([] if row.architecture == row.digest else [f"  {row.architecture}"]),
        "  " + ", ".join(f"{name} {choice}" for name, choice in row.choices.items()),
        f"  {_outcome(row)}{reward}{paid}",
    ]
    if row.fidelity is not None:
        lines.append(f"  trained at {row.fidelity.get('name', 'a reduced fidelity')}")
    if row.result is not None and row.result.get("worker"):
        lines.append(f"  {duration(row.result['train_seconds'])} on {row.result['worker']}")
    if row.costs is not None:
        lines.append(f"  {_costs_text(row.costs)}")
    return lines


def _outcome(row: TrialRow) -> str:
    if row.rejected:
        return f"rejected: {row.rejected}"
    if row.result is None:
        return "no result yet"
    if row.result["failure"] is not None:
        return f"failed: {row.result['failure']}: {row.result['message']}"
    known = "" if row.is_new else " (known before)"
    return f"accuracy {percent(row.result['accuracy'])} %{known}"


def _costs_text(costs: dict[str, Any]) -> str:
    parts = []
    for name, unit in (("latency_ms", "ms"), ("energy_mj", "mJ")):
        cost = costs[name]
        parts.append(f"{cost['value']:.4g} {unit} {cost['source']}")
    return ", ".join([*parts, f"{costs['num_params']:,} parameters, {costs['macs']:,} MACs"])
