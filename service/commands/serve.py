"""`netlathe serve`: carries jobs out, and answers over HTTP."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from service.errors import StoppedError
from service.jobs.local_jobs import opened_store
from service.jobs.states import ENDED, JobState
from service.jobs.store import JobStore
from service.jobs.supervisor import POLL_S, Supervisor
from service.output import talk


def run_serve(
    results: Path,
    store_url: str | None,
    *,
    at_once: int,
    until_idle: bool,
    http: str | None,
    token_file: Path | None,
    allow_hosts: Sequence[str],
) -> None:
    """Carry jobs out until a signal; the first one lets them stop, a second one ends them at once."""
    logging.getLogger("service.jobs").setLevel(logging.INFO)
    signals: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with opened_store(results, store_url, make=True) as (store, folder), ExitStack() as stack:
            supervisor = Supervisor(store, folder, at_once=at_once)
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
