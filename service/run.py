"""Carrying out a run in its folder: validate, wire, search, show. Imported only once the folder exists."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from evaluation import (
    Evaluation,
    EvaluationError,
    Evaluator,
    EvaluatorUnavailable,
    LedgerDamaged,
    LedgerError,
    LimitsConfig,
)
from latency_models import DeviceFileChanged
from search import (
    DamagedRun,
    DeadlinePassed,
    ParetoArchive,
    Phase,
    RunParts,
    RunSummary,
    SearchPaused,
    SessionStarted,
    TooManyFailures,
    export_pick,
    export_within,
    read_summary,
    run_search,
)
from service.config_file import validate
from service.errors import (
    DamagedError,
    DeadlineError,
    DriftError,
    NetlatheError,
    NotFoundError,
    TooManyFailuresError,
    UnavailableError,
    UsageError,
)
from service.halving_checks import check_rungs
from service.output import print_json, print_lines, talk
from service.problem import Problem, check_targets, device_line, freeze, make_problem
from service.progress import ProgressDisplay, RunProgress, WorkerLine, duration
from service.result_tables import print_summary
from service.run_compression import compress_best
from service.run_config import RunConfig
from service.run_folder import RunFolder, locked, open_run, write_run_file
from service.shared_weights import shared_weights
from service.wiring import open_parts

_log = logging.getLogger(__name__)


def dry_run(data: dict[str, Any], *, source: str, device_path: Path | None, as_json: bool) -> None:
    """Check config, data, space and device file; measure, train and write nothing."""
    from service.data_and_space import load_dataset, make_space
    from service.problem import make_lesson

    config = validate(RunConfig, data, source)
    dataset = load_dataset(config) if config.evaluator.kind != "table" else None
    space = make_space(config, dataset)
    if dataset is not None:
        check_rungs(config, space, dataset)
        make_lesson(config, dataset)
    if device_path is not None or dataset is None:
        check_targets(make_problem(config, device_path, on_progress=_no_progress))
    sessions = [config.search.strategy.name, *(c.name for c in config.search.controls)]
    size = space.size()
    facts = {
        "config": source,
        "decisions": len(space.decisions),
        "networks": size.distinct_high,
        "sessions": sessions,
        "children": config.search.budget * len(sessions),
        "images": len(dataset.train) if dataset else 0,
    }
    if as_json:
        print_json(facts)
        return
    print_lines(
        f"{source} is fine",
        f"{facts['decisions']} decisions, at most {size.distinct_high:,} networks",
        f"{facts['children']} children in all: {config.search.budget} each for {', '.join(sessions)}",
    )


def carry_out(
    folder: RunFolder, *, fresh: bool, source: str, as_json: bool, accept_drift: bool = False
) -> None:
    """Do, or go on with, the run in `folder`; print its result."""
    _, file = open_run(folder.path)
    config = validate(RunConfig, file.config, source)
    left = (
        config.compression is not None and folder.best.is_dir() and not folder.compressed.is_dir()
    )
    if not fresh and _has_ended(folder, config) and not left:
        talk.print("this run has ended already")
        summary = read_summary(folder.path)
        show(folder, summary, as_json=as_json)
        _check_result(folder, summary)
        return
    progress = RunProgress()
    with _log_file(folder), ProgressDisplay(progress):
        problem = _prepare(folder, config, progress)
        frozen = freeze(problem, file.frozen)
        write_run_file(folder, file.config, file.seed, frozen)
        try:
            shared = shared_weights(folder, problem, progress)
            with open_parts(folder, problem, file.seed, frozen, shared) as parts:
                parts = replace(parts, accept_drift=accept_drift)
                summary = run_search(_listening(parts, progress))
            if config.compression is not None:
                compress_best(folder, problem, config.compression, progress)
        except SearchPaused as paused:
            raise DriftError(
                f"paused: {paused}. Nothing is lost: netlathe resume {folder.path} measures again and goes on; "
                "with --accept-drift it goes on whatever it measures, and the cost model learns from that"
            ) from paused
        except (LedgerDamaged, DamagedRun) as error:
            raise DamagedError(str(error)) from error
        except EvaluatorUnavailable as error:
            raise UnavailableError(f"{error}\n{_when_mended(folder)}") from error
        except LedgerError as error:
            kind = UnavailableError if _is_away(folder, error) else NetlatheError
            raise kind(f"{error}\n{_when_mended(folder)}") from error
        except EvaluationError as error:
            raise NetlatheError(f"{error}\n{_when_mended(folder)}") from error
        except TooManyFailures as error:
            raise TooManyFailuresError(f"{error}\n{_when_mended(folder)}") from error
        except DeadlinePassed as error:
            raise DeadlineError(
                f"{error}. Nothing is lost: netlathe resume {folder.path} --deadline-hours HOURS, counted from the run's "
                "start, goes on"
            ) from error
    show(folder, summary, as_json=as_json)
    _check_result(folder, summary)


def _is_away(folder: RunFolder, error: LedgerError) -> bool:
    """Whether it is the database on another machine that does not answer, so that trying again may help."""
    return folder.ledger_is_elsewhere and isinstance(error.__cause__, OperationalError)


def _has_ended(folder: RunFolder, config: RunConfig) -> bool:
    """Whether there is a result, and it is that of the whole budget: trials may have been added since."""
    if not folder.summary.is_file():
        return False
    budgets = {session.budget for session in read_summary(folder.path).sessions}
    return budgets == {config.search.budget}


def _when_mended(folder: RunFolder) -> str:
    return f"nothing that was paid for is lost; when that is mended: netlathe resume {folder.path}"


def export_from_run(
    run: Path, pick: str, to: Path, limits: LimitsConfig | None = None
) -> tuple[str, str]:
    """Export `pick` (a name or a digest) of a finished run to the folder `to`; (digest, where it comes from).

    With `limits`, the most accurate network that holds them is exported instead; it comes from the run's "archive" of
    evaluated networks or from its "policy".

    Raises:
        NotFoundError: no such run or pick.
        UsageError: the run has not ended.
    """
    folder, file = open_run(run)
    config = validate(RunConfig, file.config, str(folder.run_file))
    if not _has_ended(folder, config):
        raise UsageError(f"{run} has not ended yet: netlathe resume {run} goes on with it")
    with locked(folder):
        problem = make_problem(config, folder.device_file, on_progress=_no_progress)
        frozen = freeze(problem, file.frozen)
        with open_parts(folder, problem, file.seed, frozen) as parts:
            try:
                if limits is not None:
                    return export_within(parts, limits, to)
                return export_pick(parts, pick, to), "archive"
            except LookupError as error:
                raise NotFoundError(str(error.args[0])) from None


def show(folder: RunFolder, summary: RunSummary, *, as_json: bool) -> None:
    """The result: tables for people, or the summary as JSON with absolute paths."""
    if as_json:
        told = {**json.loads(summary.to_json()), "run_dir": str(folder.path.absolute())}
        if folder.compressed.is_dir():
            told["compressed_dir"] = str(folder.compressed.absolute())
        print_json(told)
        return
    print_summary(folder.path, summary)


def _check_result(folder: RunFolder, summary: RunSummary) -> None:
    if not summary.picks:
        raise NetlatheError(
            "no network to export: every child failed, broke a limit or failed its full training; the reasons are in "
            f"{folder.path / summary.paths['trials']}"
        )


def _prepare(folder: RunFolder, config: RunConfig, progress: RunProgress) -> Problem:
    progress.phase = "preparing"

    def on_progress(what: str, share: float) -> None:
        progress.phase, progress.detail = "measuring the device", f"{what} {100 * share:.0f} %"

    started = time.monotonic()
    try:
        problem = make_problem(
            config, folder.device_file, on_progress=on_progress, save_to=folder.device_file
        )
    except DeviceFileChanged as error:
        raise DamagedError(str(error)) from error
    except (
        ValueError
    ) as error:  # unusable data, an impossible space, a device that cannot be modelled
        raise UsageError(str(error)) from error
    check_targets(problem)
    if problem.device is not None:
        talk.print(device_line(problem.device))
    _log.info("prepared in %s", duration(time.monotonic() - started))
    progress.detail = ""
    return problem


def _listening(parts: RunParts, progress: RunProgress) -> RunParts:
    """`parts` that report to `progress`."""
    archive = ParetoArchive()
    replayed = 0

    def on_phase(phase: Phase | SessionStarted) -> None:
        nonlocal archive, replayed
        if isinstance(phase, SessionStarted):
            progress.phase, archive, replayed = "search", ParetoArchive(), phase.logged
            progress.begin_session(phase.name, phase.budget)
            return
        progress.phase, progress.detail = phase.name, phase.detail

    def on_evaluation(evaluation: Evaluation) -> None:
        progress.done += evaluation.charged
        if evaluation.sequence >= replayed:
            progress.new_since_start += evaluation.charged
        if evaluation.rejected:
            progress.rejected += 1
        elif not evaluation.ok:
            progress.failed += 1
        else:
            archive.add(evaluation)
            progress.pareto_size = len(archive)
            if evaluation.is_full:
                progress.best_accuracy = max(progress.best_accuracy or 0.0, evaluation.accuracy)

    progress.workers = lambda: _worker_lines(parts.evaluator)
    return replace(parts, on_phase=on_phase, on_evaluation=on_evaluation)


def _worker_lines(evaluator: Evaluator) -> list[WorkerLine]:
    return [WorkerLine(each.name, each.doing, each.seconds) for each in evaluator.status()]


def _no_progress(what: str, share: float) -> None:
    """For verbs that show none."""


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": self.formatTime(record),
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
            },
            ensure_ascii=False,
        )


@contextmanager
def _log_file(folder: RunFolder) -> Iterator[None]:
    """Our packages' messages, from INFO on, go to ``log.jsonl`` of the run."""
    handler = logging.FileHandler(folder.log, encoding="utf-8")
    handler.setFormatter(_JsonLines())
    loggers = [
        logging.getLogger(name)
        for name in (
            "search",
            "service",
            "evaluation",
            "compress",
            "latency_models",
            "child_models",
            "envs",
        )
    ]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()
