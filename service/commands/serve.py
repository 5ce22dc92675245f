"""`netlathe serve`: carries jobs out, and answers over HTTP."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType

from evaluation.ray_hosts import RayHosts
from service.deployment import Deployment, is_loopback, is_shared
from service.errors import NetlatheError, StoppedError, UsageError
from service.jobs.folder import JobsFolder
from service.jobs.job_database import StoreUnreachable
from service.jobs.local_jobs import open_store
from service.jobs.process import JobProcess
from service.jobs.ray_process import RayJobProcess
from service.jobs.states import ENDED, JobState
from service.jobs.store import JobStore
from service.jobs.supervisor import POLL_S, Start, Supervisor
from service.output import talk

STORE_WAIT_S = 120.0
"""For which a server that starts waits for a database that is away."""


def run_serve(
    results: Path,
    store_url: str | None,
    *,
    at_once: int,
    ray: str | None,
    workers_per_job: int | None,
    until_idle: bool,
    http: str | None,
    token_file: Path | None,
    allow_hosts: Sequence[str],
) -> None:
    """Carry jobs out until a signal; the first one lets them stop, a second one ends them at once.

    Args:
        at_once: how many jobs run at the same time.
        ray: address of the cluster that they run on; None: beside this process.
        workers_per_job: how many children of each train at a time; None: an equal share of the cores.
    """
    logging.getLogger("service.jobs").setLevel(logging.INFO)
    signals: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as stack:
            store, folder = _store_when_there(results, store_url, signals)
            stack.callback(store.close)
            start = _place(folder, store_url, ray, workers_per_job, at_once, stack)
            supervisor = Supervisor(store, folder, at_once=at_once, start=start)
            talk.print(f"serving {results} as {supervisor.owner}; Ctrl-C stops")
            if http is not None:
                from service.http.serving import http_server

                url = stack.enter_context(
                    http_server(
                        store_url or folder.database_url,
                        folder,
                        http,
                        token_file=token_file,
                        allow_hosts=allow_hosts,
                    )
                )
                talk.print(
                    f"HTTP: {url}/api/v1/jobs{'' if token_file else ' (no token: this machine only)'}"
                )
            _serve(supervisor, store, signals, until_idle=until_idle)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if signals:
        raise StoppedError("stopped; `netlathe serve` goes on with what was at work")


def _store_when_there(
    results: Path, store_url: str | None, signals: list[int]
) -> tuple[JobStore, JobsFolder]:
    """The store, waited for where it is away: the machines of a cluster start in any order, and a server outlives outages."""
    end = time.monotonic() + STORE_WAIT_S
    told = False
    while True:
        try:
            return open_store(results, store_url, make=True)
        except StoreUnreachable as error:
            if signals:
                raise StoppedError("stopped; the job store was not there yet") from error
            if time.monotonic() > end:
                raise
            if not told:
                talk.print(f"{error}\nwaiting for it, at most {STORE_WAIT_S:.0f} s")
                told = True
        time.sleep(POLL_S)


def _place(
    folder: JobsFolder,
    store_url: str | None,
    ray: str | None,
    workers_per_job: int | None,
    at_once: int,
    stack: ExitStack,
) -> Start:
    """How a job's process is started, and what it is told of this place."""
    shared = is_shared(store_url)

    def environment(cores: int) -> dict[str, str]:
        share = max(1, cores // at_once) if at_once > 1 else None
        return Deployment(
            ledger_url=store_url if shared else None,
            shared_results=store_url if shared else folder.shared_results_url,
            ray_address=ray,
            max_workers=workers_per_job or share,
        ).to_environment()

    if ray is None:
        return partial(JobProcess, environment=environment(len(os.sched_getaffinity(0))))
    hosts = _joined(ray, store_url or folder.database_url)
    stack.callback(hosts.close)
    talk.print(
        f"on the cluster at {ray}: {hosts.cores} cores; machines: {', '.join(sorted(hosts.machines))}"
    )
    return partial(RayJobProcess, environment=environment(hosts.cores), hosts=hosts)


def _joined(address: str, store_url: str) -> RayHosts:
    from evaluation import EvaluatorUnavailable, LedgerError, check_storage

    host = address.rpartition(":")[0].strip("[]")
    if not is_loopback(host) and os.environ.get("RAY_AUTH_MODE") != "token":
        raise UsageError(
            f"--ray {address}: without a token whoever reaches a Ray cluster can run anything there; start it with "
            "RAY_AUTH_MODE=token and a RAY_AUTH_TOKEN, and set both here, too"
        )
    try:
        hosts = RayHosts(address)
    except EvaluatorUnavailable as error:
        raise NetlatheError(str(error)) from error
    try:
        check_storage(store_url, multi_node=len(hosts.machines) > 1)
    except LedgerError as error:
        hosts.close()
        raise UsageError(f"--store: {error}") from error
    return hosts


def _serve(
    supervisor: Supervisor, store: JobStore, signals: list[int], *, until_idle: bool
) -> None:
    asked = False
    while True:
        supervisor.step()
        if signals and not asked:
            asked = True
            talk.print("stopping (again to force)…")
            supervisor.stop()
        if len(signals) > 1:
            supervisor.kill()
        if asked and not supervisor.running:
            return
        if until_idle and not supervisor.running and not _waiting(store):
            return
        time.sleep(POLL_S)


def _waiting(store: JobStore) -> bool:
    idle = ENDED | {JobState.PAUSED}
    return any(job.state not in idle for job in store.jobs())
