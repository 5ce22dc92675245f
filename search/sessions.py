"""A run's sessions of the ledger."""

from __future__ import annotations

from pathlib import Path

from evaluation import LedgerSession
from search.parts import RunParts
from search.strategies import StrategyConfig


def open_session(parts: RunParts, config: StrategyConfig) -> LedgerSession:
    """The ledger's session of one strategy of this run; one that exists is replayed from its beginning."""
    return parts.ledger.session(
        parts.name,
        config.name,
        parts.seed,
        budget=parts.search.budget,
        space=parts.space,
        evaluator=parts.evaluator,
        costing=parts.costing,
        objective=parts.objective,
        limits=parts.limits,
        fidelity=parts.schedule.search,
        training_seed=parts.training_seed,
    )


def checkpoint_dir(parts: RunParts, session: LedgerSession) -> Path:
    """Where the session's strategy keeps its checkpoints, if it does."""
    return parts.run_dir / "checkpoints" / session.name
