"""One run from first proposal to report: strategy, controls, picks, full training, export.

Every step is either deterministic or recorded in the ledger, so calling `run_search` again over a
half-finished run directory goes on where it stopped and ends the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from evaluation import Evaluation, LedgerSession
from search.finals import Final, choose, train_finals
from search.optuna_mirror import OptunaMirror
from search.parts import Phase, RunParts
from search.results import summarise, write_report_files, write_trials
from search.strategies import StrategyConfig, make_strategy
from search.summary import RunSummary

_log = logging.getLogger(__name__)


def run_search(parts: RunParts) -> RunSummary:
    """Search with the strategy, then with each control; finish with the strategy's best networks.

    Raises:
        EvaluatorUnavailable: nothing can be evaluated; what was paid for is kept.
        KeyboardInterrupt: as it comes; calling again with the same run directory goes on.
    """
    sessions: list[LedgerSession] = []
    with OptunaMirror.open(parts) as mirror:
        for config in (parts.search.strategy, *parts.search.controls):
            sessions.append(_search_with(parts, config, mirror))
            write_trials(parts, sessions)
        main = sessions[0]
        finals = _finish(parts, main.history)
        mirror.add_finals(finals)
    summary = summarise(parts, sessions, finals)
    write_report_files(parts, sessions, finals, summary)
    return summary


def _search_with(parts: RunParts, config: StrategyConfig, mirror: OptunaMirror) -> LedgerSession:
    """One strategy until its budget is spent. What the ledger already holds is replayed, not repeated."""
    session = open_session(parts, config)
    parts.on_phase(Phase("search", session.name))
    strategy = make_strategy(
        config,
        space=parts.space,
        seed=parts.seed,
        bounds=parts.bounds,
        checkpoint_dir=parts.run_dir / "checkpoints" / session.name,
    )
    started = time.monotonic()
    strategy.run(session)
    mirror.add(session)
    _log.info("%s ended after %.1f s", session.name, time.monotonic() - started)
    return session


def open_session(parts: RunParts, config: StrategyConfig) -> LedgerSession:
    """The ledger's session of one strategy of this run."""
    return parts.ledger.session(
        run=parts.name,
        strategy=config.name,
        seed=parts.seed,
        budget=parts.search.budget,
        space=parts.space,
        evaluator=parts.evaluator,
        costing=parts.costing,
        objective=parts.objective,
        limits=parts.limits,
        fidelity=parts.schedule.search,
        training_seed=parts.training_seed,
    )


def _finish(parts: RunParts, history: Sequence[Evaluation]) -> tuple[Final, ...]:
    """Fix the picks on validation, train them at the full schedule, test them together, once."""
    if parts.dataset is None or parts.device_file is None:
        return ()
    chosen, measured = choose(parts, history)
    if not chosen:
        _log.warning("no network to export: no child finished within the limits")
        return ()
    trained = train_finals(parts, tuple(chosen.values()))
    return tuple(
        make_final(parts, pick, evaluation, trained, measured)
        for pick, evaluation in chosen.items()
    )
