"""What a job is to do in all, and how many work on it."""

from __future__ import annotations

import os

from service.config_file import validate
from service.jobs.answers import JobPlan
from service.jobs.records import Job


def plan_of(job: Job) -> JobPlan:
    """From its config and the defaults."""
    from service.run_config import RunConfig  # heavy

    config = validate(RunConfig, job.spec.config, job.id)
    evaluator = config.evaluator
    workers = {"local": 1, "table": None, "ray": evaluator.workers}[evaluator.kind]
    if evaluator.kind == "ray" and workers is None and evaluator.address is None:
        workers = len(
            os.sched_getaffinity(0)
        )  # one a core; a cluster that is joined may have any number
    return JobPlan(
        sessions=1 + len(config.search.controls), budget=config.search.budget, workers=workers
    )
