"""A run's sessions of the ledger."""

from __future__ import annotations

from pathlib import Path

from evaluation import LedgerSession
from search.parts import RunParts


def open_session(parts: RunParts, name: str, *, budget: float | None = None) -> LedgerSession:
    """The ledger's session of this run with this strategy's name; one that exists is replayed from its beginning.

    `budget`: the search's, if none is given.
    """
    return parts.ledger.session(
        parts.name,
        name,
        parts.seed,
        budget=parts.search.budget if budget is None else budget,
        space=parts.space,
        evaluator=parts.evaluator,
        costing=parts.costing,
        objective=parts.objective,
        limits=parts.limits,
        fidelity=parts.schedule.search,
        training_seed=parts.training_seed,
        by_arrival=parts.search.asynchronous is not None,
    )


def checkpoint_dir(parts: RunParts, session: LedgerSession) -> Path:
    """Where the session's strategy keeps its checkpoints, if it does."""
    return parts.run_dir / "checkpoints" / session.name
