"""One run from first proposal to report: strategy, controls, picks, full training, export.

Every step is either deterministic or recorded in the ledger, so calling `run_search` again over a
half-finished run directory goes on where it stopped and ends the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing

from evaluation import Evaluation, LedgerSession
from search.analysis import Learnt, analyse
from search.export_run import export_final, export_plain
from search.finals import Final, make_final, train_picks, worth_picking
from search.halving import HalvingSearch
from search.optuna_mirror import OptunaMirror
from search.pareto import picks
from search.parts import Phase, RunParts, SessionStarted
from search.recalibration import recalibrated
from search.results import summarise, write_report_files, write_tables
from search.run_clock import RunClock
from search.sessions import checkpoint_dir, open_session
from search.stopping import StopRules
from search.strategies import StrategyConfig, make_strategy
from search.strategy import BatchStrategy, Strategy
from search.summary import RunSummary
from search.windowed_search import WindowedSearch

_log = logging.getLogger(__name__)


def run_search(parts: RunParts) -> RunSummary:
    """Search with the strategy, then with each control; finish with the strategy's best networks.

    Raises:
        EvaluatorUnavailable: nothing can be evaluated; what was paid for is kept.
        SearchPaused: see `recalibration`; calling again goes on.
        TooManyFailures, DeadlinePassed: see `stopping`; likewise.
        KeyboardInterrupt: as it comes; calling again with the same run directory goes on.
    """
    clock, rules = RunClock(parts.ledger), StopRules(parts.search, parts.ledger)
    sessions: list[LedgerSession] = []
    learnt: list[Learnt] = []
    _start_workers(parts, clock)
    with closing(OptunaMirror(parts)) as mirror:
        for config in (parts.search.strategy, *parts.search.controls):
            with clock.phase("search"):
                session, told = _search_with(parts, config, mirror, clock, rules)
            sessions.append(session)
            learnt.append(told)
            write_tables(parts, sessions)
        with clock.phase("finals"):
            finals = _finish(parts, sessions[0].history)
        mirror.add_finals(finals)
    parts.on_phase(Phase("export"))
    _export(parts, sessions[0].history, finals)
    summary = summarise(parts, sessions, finals, clock)
    main = sessions[0]
    analysis = analyse(main.name, parts.space, main.history, learnt[0], parts.rungs)
    write_report_files(parts, sessions, finals, summary, analysis)
    return summary


def _start_workers(parts: RunParts, clock: RunClock) -> None:
    """Before the search, unless the ledger holds all of it already."""
    configs = (parts.search.strategy, *parts.search.controls)
    if any(open_session(parts, config.name).unpaid > 0 for config in configs):
        parts.on_phase(Phase("starting workers"))
        with clock.phase("start"):
            parts.evaluator.warm_up()
    window, workers = parts.search.window, len(parts.evaluator.status())
    if window is not None and window < workers:
        _log.warning(
            "a window of %d (search.halving or search.asynchronous) keeps that many of %d workers busy; make it larger",
            window,
            workers,
        )


def _search_with(
    parts: RunParts,
    config: StrategyConfig,
    mirror: OptunaMirror,
    clock: RunClock,
    rules: StopRules,
) -> tuple[LedgerSession, Learnt]:
    """One strategy until its budget is spent. What the ledger already holds is replayed, not repeated."""
    session = open_session(parts, config.name)
    logged = session.logged
    parts.on_phase(SessionStarted(session.name, session.budget, logged))
    if session.unpaid > 0:
        rules.check_time()

    def on_result(evaluation: Evaluation) -> None:
        parts.on_evaluation(evaluation)
        if evaluation.sequence >= logged:
            clock.count(evaluation)
        mirror.add(session.name, evaluation)
        if evaluation.sequence >= logged:
            rules.see(evaluation)

    session.on_result = on_result
    strategy = make_strategy(
        config,
        space=parts.space,
        bounds=parts.bounds,
        seed=parts.seed,
        objective=parts.objective,
        # checkpoints are taken between batches, and with a window something is always under way
        checkpoint_dir=None if parts.search.window else checkpoint_dir(parts, session),
    )
    started = time.monotonic()
    searcher = _searcher(parts, strategy)
    with recalibrated(parts, session):
        searcher.run(session)
    mirror.flush()
    _log.info("%s ended after %.1f s", session.name, time.monotonic() - started)
    return session, searcher.learnt(session)


def _searcher(parts: RunParts, strategy: Strategy) -> Strategy | WindowedSearch:
    """What runs `strategy`: by default itself, batch by batch."""
    halving, window = parts.search.halving, parts.search.window
    if window is None:
        return strategy
    assert isinstance(strategy, BatchStrategy), "checked by SearchConfig"
    if halving is None:
        return WindowedSearch(strategy, window)
    return HalvingSearch(strategy, halving, parts.rungs, window)


def _finish(parts: RunParts, history: Sequence[Evaluation]) -> tuple[Final, ...]:
    """Fix the picks on validation, train them at the full schedule, test them together, once."""
    if parts.dataset is None:
        return ()
    chosen, trained, measured = train_picks(parts, history)
    if not chosen:
        _log.warning("nothing to export: no network finished its full training within the limits")
        return ()
    return tuple(
        make_final(parts, pick, evaluation, trained, measured)
        for pick, evaluation in chosen.items()
    )


def _export(parts: RunParts, history: Sequence[Evaluation], finals: Sequence[Final]) -> None:
    """``best/``: the most accurate network with its weights, or without any where nothing is trained."""
    directory = parts.run_dir / "best"
    if finals:
        export_final(parts, finals[0], directory)
    elif parts.dataset is None and (candidates := worth_picking(parts, history)):
        export_plain(parts, picks(candidates).best, directory)
