"""What a job is to do in all, and how many work on it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from archspace import write_atomic
from service.config_file import validate
from service.deployment import MAX_WORKERS, RAY_ADDRESS, Deployment
from service.errors import UsageError
from service.jobs.answers import JobPlan
from service.jobs.folder import JobsFolder
from service.jobs.records import Job

_TOLD = (RAY_ADDRESS, MAX_WORKERS)
"""Of a process's environment: no address of a database, for these may have passwords in them."""


def plan_of(job: Job, folder: JobsFolder) -> JobPlan:
    """From its config, the defaults, and what its server told its process; before it was begun, as if it had all cores."""
    from service.run_config import RunConfig  # heavy

    config = validate(RunConfig, job.spec.config, job.id)
    workers: int | None = None  # a table's children are looked up by nobody
    if config.evaluator.kind == "local":
        workers = 1
    elif config.evaluator.kind == "ray":
        place = _place_of(folder, job.id)
        workers = place.workers(config.evaluator.workers)
        # a cluster that is joined may have any number
        if workers is None and not (config.evaluator.address or place.ray_address):
            workers = len(os.sched_getaffinity(0))
    return JobPlan(
        sessions=1 + len(config.search.controls), budget=config.search.budget, workers=workers
    )


def keep_place(folder: JobsFolder, job_id: str, environment: Mapping[str, str]) -> None:
    """For `plan_of`: what a job's process is about to be told. Nothing where it cannot be written: the job matters more."""
    told = {name: environment[name] for name in _TOLD if name in environment}
    path = folder.place(job_id)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(told) + "\n")


def _place_of(folder: JobsFolder, job_id: str) -> Deployment:
    try:
        told = json.loads(folder.place(job_id).read_text(encoding="utf-8"))
        return Deployment.here({name: str(told[name]) for name in _TOLD if name in told})
    except (OSError, ValueError, TypeError, UsageError):
        return Deployment()  # not begun yet, or not ours
