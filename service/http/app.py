"""The routes. Each is a few lines over `JobStore` and a job's run directory; `Guard` stands before all of them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import zipfile
from collections.abc import AsyncIterator, Collection
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from deploy.files import PICTURE as ARCHITECTURE_PICTURE
from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from service.http import dashboard, sessions
from service.http.answers import JobPage, NewJob, Problem, Resume, Stop
from service.http.dashboard_process import DashboardProcess
from service.http.guard import Guard
from service.http.jobs import Jobs, TheJobs
from service.http.plain import OPEN_PATHS, PLAIN_TEXT, plain
from service.jobs.answers import Event, JobAnswer, JobPlan, LogPart
from service.jobs.folder import JobsFolder
from service.jobs.local_jobs import forget
from service.jobs.logs import read_log, tail
from service.jobs.plan import plan_of
from service.jobs.progress import SessionProgress, Trial, read_progress, read_trials_json
from service.jobs.states import ENDED, JobState
from service.jobs.store import JobStore
from service.jobs.submitting import resume_job, search_spec, submit_search
from service.jobs.trial_answer import TRIAL, TrialAnswer, read_trial
from service.run_folder import NAME

_log = logging.getLogger(__name__)

PAGE = 50
MOST_TRIALS = 10_000
_STREAM_S = 1.0
_STATUS = {UsageError: 422, NotFoundError: 404, ConflictError: 409}

JobId = Annotated[str, Path(pattern=f"^{NAME.pattern}$", description="a job's id")]
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 401, 403, 404, 409, 413, 415, 421, 422, 503)
}


router = APIRouter(prefix="/api/v1", responses=_PROBLEMS)


def make_app(
    store: JobStore, folder: JobsFolder, *, token: str | None, hosts: Collection[str]
) -> FastAPI:
    """The application, guarded. Its `state.dashboard` is a process, once it is used, and to be closed at the end.

    Args:
        store: for the requests alone: they come on several threads.
        token: that every request must carry; None for none.
        hosts: names and addresses that the server goes by.
    """
    app = FastAPI(title="Netlathe", docs_url=None, redoc_url=None)
    app.state.jobs = Jobs(store, folder)
    app.state.sessions = sessions.Sessions()
    app.state.dashboard = DashboardProcess(folder.results)
    app.include_router(router)
    app.include_router(sessions.router, responses=_PROBLEMS)
    app.include_router(dashboard.router, responses=_PROBLEMS)
    app.include_router(plain)
    app.add_exception_handler(NetlatheError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(dashboard.Dashboard, process=app.state.dashboard)
    app.add_middleware(
        Guard, token=token, hosts=hosts, open_paths=OPEN_PATHS, sessions=app.state.sessions
    )
    return app


def _refused(_request: Request, error: Exception) -> Response:
    # what is neither the request's fault nor a state's is the store's: it may be back soon
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 503)
    return JSONResponse({"detail": str(error)}, status_code=status)


def _invalid(_request: Request, error: Exception) -> Response:
    """A request that does not fit the document, in the form of all other problems."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return JSONResponse({"detail": "; ".join(faults)}, status_code=422)


@router.post("/jobs", status_code=201)
def submit(new: NewJob, jobs: TheJobs, response: Response) -> JobAnswer:
    """Submit a search. The same id and config again is the job that there is (200); another config is a conflict (409)."""
    device = None if new.device_file is None else FilePath(new.device_file)
    spec, name = search_spec(new.config, source="config", device_file=device)
    job_id = name if new.id is None else new.id
    job, fresh = submit_search(jobs.store, jobs.folder, job_id, spec)
    response.status_code = 201 if fresh else 200
    return JobAnswer.of(job, jobs.folder)


@router.get("/jobs")
def jobs_page(
    jobs: TheJobs,
    state: Annotated[JobState | None, Query(description="only those in this state")] = None,
    cursor: Annotated[str | None, Query(max_length=63, description="of the page before")] = None,
) -> JobPage:
    """Jobs in order of submission, 50 at a time; 404 where the cursor's job was deleted."""
    states = None if state is None else [state]
    found = jobs.store.jobs(states, after=cursor, most=PAGE + 1)
    page = found[:PAGE]
    more = page[-1].id if len(found) > PAGE else None
    return JobPage(jobs=[JobAnswer.of(job, jobs.folder) for job in page], cursor=more)


@router.get("/jobs/{job_id}")
def job(job_id: JobId, jobs: TheJobs) -> JobAnswer:
    """One job."""
    return jobs.answer(job_id)


@router.delete("/jobs/{job_id}", status_code=204)
def delete(
    job_id: JobId,
    jobs: TheJobs,
    files: Annotated[bool, Query(description="its run directory, too")] = False,
) -> None:
    """Forget a job that has ended or is paused; its run directory stays."""
    forget(jobs.store, jobs.folder, job_id, files=files)


@router.post("/jobs/{job_id}/pause")
def pause(job_id: JobId, jobs: TheJobs) -> JobAnswer:
    """Let it stop; what was paid for stays."""
    jobs.store.pause(job_id)
    return jobs.answer(job_id)


@router.post("/jobs/{job_id}/resume")
def resume(job_id: JobId, jobs: TheJobs, more: Resume | None = None) -> JobAnswer:
    """Have a paused job go on, or a failed or cancelled one try again; with more trials, if they are given."""
    resume_job(jobs.store, job_id, 0 if more is None else more.add_trials)
    return jobs.answer(job_id)


@router.post("/jobs/{job_id}/stop")
def stop(job_id: JobId, jobs: TheJobs, how: Stop | None = None) -> JobAnswer:
    """Cancel it."""
    jobs.store.cancel(job_id, at_once=how is not None and how.now)
    return jobs.answer(job_id)


@router.get("/jobs/{job_id}/plan")
def plan(job_id: JobId, jobs: TheJobs) -> JobPlan:
    """What it is to do in all, and how many workers it has."""
    return plan_of(jobs.store.get(job_id), jobs.folder)


@router.get("/jobs/{job_id}/events")
def events(
    job_id: JobId, jobs: TheJobs, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0
) -> list[Event]:
    """Changes of its state, oldest first."""
    return [Event.of(event) for event in jobs.store.events(job_id, after)]


@router.get("/jobs/{job_id}/stream", response_class=StreamingResponse)
async def stream(job_id: JobId, jobs: TheJobs, request: Request) -> StreamingResponse:
    """Server-sent events: the job as JSON whenever it has changed, until it has ended or is paused."""
    await asyncio.to_thread(jobs.store.get, job_id)  # 404 before the stream begins
    return StreamingResponse(_changes(job_id, jobs, request), media_type="text/event-stream")


async def _changes(job_id: str, jobs: Jobs, request: Request) -> AsyncIterator[str]:
    said = None
    while not await request.is_disconnected():
        try:
            now = await asyncio.to_thread(jobs.answer, job_id)
        except NotFoundError as error:  # it was deleted
            yield f"event: error\ndata: {json.dumps({'detail': str(error)})}\n\n"
            return
        except NetlatheError as error:
            _log.warning("%s; trying again", error)
            await asyncio.sleep(_STREAM_S)
            continue
        if now != said:
            said = now
            yield f"event: job\ndata: {now.model_dump_json()}\n\n"
        if now.state in ENDED or now.state == JobState.PAUSED:
            return
        await asyncio.sleep(_STREAM_S)


@router.get("/jobs/{job_id}/trials")
def trials(
    job_id: JobId,
    jobs: TheJobs,
    start: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_TRIALS)] = 1000,
) -> list[dict[str, Any]]:
    """Rows of the finished run's trial table, as JSON; 404 before it is written."""
    import pandas as pd

    jobs.store.get(job_id)
    path = jobs.folder.run(job_id).path / "trials.parquet"
    if not path.is_file():
        raise NotFoundError(f"job {job_id} has no trial table yet: it is written at the end")
    rows = pd.read_parquet(path).iloc[start : start + count]
    found: list[dict[str, Any]] = json.loads(rows.to_json(orient="records"))
    return found


@router.get("/jobs/{job_id}/trials/{trial}")
def trial(
    job_id: JobId,
    trial: Annotated[
        str, Path(pattern=f"^({TRIAL.pattern})$", description="a number, or a digest's beginning")
    ],
    jobs: TheJobs,
) -> TrialAnswer:
    """One trial: what each strategy proposed under that number, or all proposals of that digest; and what the log says of it."""
    config = jobs.store.get(job_id).spec.config
    return read_trial(jobs.folder.run(job_id), config, trial)


@router.get("/jobs/{job_id}/points", response_model=list[Trial])
def points(job_id: JobId, jobs: TheJobs) -> Response:
    """Accuracy, predicted latency and reward of each result so far, strategy by strategy, in order."""
    jobs.store.get(job_id)
    return Response(read_trials_json(jobs.folder.run(job_id)), media_type="application/json")


@router.get("/jobs/{job_id}/picture", response_class=Response)
def picture(job_id: JobId, jobs: TheJobs) -> Response:
    """The exported network as an SVG drawing; 404 before there is one."""
    jobs.store.get(job_id)
    path = jobs.folder.run(job_id).best / ARCHITECTURE_PICTURE
    if not path.is_file():
        raise NotFoundError(f"job {job_id} has exported nothing yet")
    return Response(path.read_bytes(), media_type="image/svg+xml")


@router.get("/jobs/{job_id}/best")
def best(job_id: JobId, jobs: TheJobs) -> list[SessionProgress]:
    """The best network of each strategy so far."""
    jobs.store.get(job_id)
    return read_progress(jobs.folder.run(job_id))


@router.get("/jobs/{job_id}/export", response_class=Response)
def export(job_id: JobId, jobs: TheJobs) -> Response:
    """The exported network as a zip archive; 404 before there is one."""
    jobs.store.get(job_id)
    folder = jobs.folder.run(job_id).best
    if not folder.is_dir():
        raise NotFoundError(f"job {job_id} has exported nothing yet")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink():
                archive.write(path, f"{job_id}/{path.name}")
    headers = {"content-disposition": f'attachment; filename="{job_id}.zip"'}
    return Response(content.getvalue(), media_type="application/zip", headers=headers)


@router.get("/jobs/{job_id}/logs", response_class=Response, responses=PLAIN_TEXT)
def logs(job_id: JobId, jobs: TheJobs) -> Response:
    """The last few kilobytes of what its processes said."""
    jobs.store.get(job_id)
    log = jobs.folder.log(job_id)
    return PlainTextResponse(tail(log) if log.is_file() else "")


@router.get("/jobs/{job_id}/log")
def log(job_id: JobId, jobs: TheJobs, offset: Annotated[int, Query(ge=0, le=2**53)] = 0) -> LogPart:
    """What its processes said, from a place on: at most 64 KiB, and where the next part begins."""
    jobs.store.get(job_id)
    return read_log(jobs.folder.log(job_id), offset)
