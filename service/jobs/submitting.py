"""From a run file's content to a job; the same for the command line and for HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.config_file import validate
from service.errors import ConflictError, NotFoundError, UsageError
from service.jobs.folder import JobsFolder
from service.jobs.records import Job
from service.jobs.spec import JobSpec
from service.jobs.store import JobStore
from service.run_folder import NAME


def search_spec(
    config: Mapping[str, Any], *, source: str, device_file: Path | None = None
) -> tuple[JobSpec, str]:
    """(what is asked for, the id of its job where none is given: NAME-sSEED of the config).

    Args:
        config: with overrides applied.
        source: what messages call it.

        device_file: by absolute path, where others than this process read it.

    Raises:
        NotFoundError: no such device file.
        UsageError: a config that cannot be used.
    """
    if device_file is not None and not device_file.is_file():
        raise NotFoundError(f"no device file at {device_file}")
    from service.run_config import RunConfig  # heavy

    checked = validate(RunConfig, config, source)
    device = str(device_file.absolute()) if device_file is not None else None
    spec = JobSpec(config=config, seed=checked.seed, device_file=device)
    try:
        spec.to_json()
    except (ValueError, TypeError) as error:
        raise UsageError(f"{source}: {error}") from error
    return spec, f"{checked.name}-s{checked.seed}"


def submit_search(
    store: JobStore, folder: JobsFolder, job_id: str, spec: JobSpec
) -> tuple[Job, bool]:
    """(the job, whether it is new).

    Raises:
        UsageError: an id that is none.
        ConflictError: a job of that id asks for something else, or a run of that name is no job.
    """
    if NAME.fullmatch(job_id) and not store.knows(job_id) and folder.run(job_id).path.exists():
        raise ConflictError(
            f"{folder.run(job_id).path} is there already and no job; choose another id"
        )
    return store.submit(job_id, spec)


def resume_job(store: JobStore, job_id: str, add_trials: int = 0) -> Job:
    """Have a job go on, or try again, with so many trials more for each strategy.

    Raises:
        NotFoundError: no such job.
        ConflictError: see `JobStore.resume`.
        UsageError: settings of its search follow the budget, so that none can be added.
    """
    if not add_trials:
        return store.resume(job_id)
    from service.enlarging import check_may_grow
    from service.run_config import RunConfig  # heavy

    search = validate(RunConfig, store.get(job_id).spec.config, job_id).search
    check_may_grow(search, f"job {job_id}")
    return store.resume(job_id, add_trials=add_trials, budget=search.budget)
