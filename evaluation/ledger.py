"""The one door through which every searcher gets its scores, and the account of what it paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archspace import SearchSpace
from evaluation.costing import Costing, ExpectedCosts
from evaluation.evaluator import Evaluator
from evaluation.ledger_session import LedgerSession
from evaluation.limits import LimitsConfig
from evaluation.objectives import Objective
from evaluation.results import Evaluation, Fidelity
from evaluation.row_checks import LedgerError
from evaluation.scoring import Scoring
from evaluation.storage import Storage
from evaluation.tables import SessionRecord


class Ledger:
    """Sessions, a cache of children's results that they share, and records of other paid work.

    Args:
        url: ``sqlite:///FILE`` (one machine) or ``postgresql+psycopg://…``.
        scope: sessions, cached results and records are kept apart by scope; give the run's name where runs share a database.

    Raises:
        ValueError: not a usable URL.
        LedgerError: it cannot be opened, or is another version's.
    """

    def __init__(self, url: str, *, scope: str = "") -> None:
        self._storage = Storage(url, scope=scope)
        self._scope = scope

    def session(
        self,
        run: str,
        strategy: str,
        seed: int,
        *,
        budget: float,
        space: SearchSpace,
        evaluator: Evaluator,
        costing: Costing,
        objective: Objective,
        limits: LimitsConfig,
        fidelity: Fidelity,
        training_seed: int,
        replicate: int = 0,
        prediction: ExpectedCosts | None = None,
        by_arrival: bool = False,
        on_result: Callable[[Evaluation], None] | None = None,
    ) -> LedgerSession:
        """Open the session (run, strategy, seed); one that exists is replayed from its beginning.

        `by_arrival`: results are handed back as they come, not in order of proposal.
        `prediction` answers the searcher's questions about costs, where that is not for `costing`, which judges.

        Raises:
            LedgerError: it was begun with other settings (the budget may change).
        """
        scoring = Scoring(
            space=space,
            evaluator=evaluator,
            costing=costing,
            objective=objective,
            limits=limits,
            fidelity=fidelity,
            training_seed=training_seed,
            replicate=replicate,
            prediction=prediction,
        )
        settings = scoring.settings
        if by_arrival:
            settings = {**settings, "order": "arrival"}
        record = self._storage.open_session(
            run, strategy, seed, budget=budget, space_digest=space.digest, settings=settings
        )
        names = dict.fromkeys((*settings, "order"))
        changed = [name for name in names if record.settings.get(name) != settings.get(name)]
        if changed:
            before, now = record.settings, settings
            raise LedgerError(
                f"session {record.name} of run {run} was begun with another "
                + "; ".join(f"{n} ({before.get(n)}, now {now.get(n)})" for n in changed)
                + "; restore the old settings or start a new run"
            )
        if budget != record.budget:
            self._storage.set_budget(record, budget)
        return LedgerSession(
            self._storage,
            record,
            scoring,
            budget=budget,
            by_arrival=by_arrival,
            on_result=on_result,
        )

    def sessions(self) -> list[SessionRecord]:
        """All sessions, in order of their making."""
        return self._storage.sessions()

    def evaluations(self, session: SessionRecord | str) -> list[Evaluation]:
        """All finished evaluations of a session, given by record or by name ("ppo-0"), in order.

        Raises:
            LedgerError: no session, or sessions of several runs, have that name.
        """
        if isinstance(session, str):
            session = self._by_name(session)
        return [
            proposal.evaluation
            for proposal in self._storage.proposals(session)
            if proposal.evaluation is not None
        ]

    def _by_name(self, name: str) -> SessionRecord:
        found = [record for record in self.sessions() if record.name == name]
        if len(found) != 1:
            names = sorted(f"{record.name} of {record.run}" for record in self.sessions())
            raise LedgerError(
                f"expected one session named {name}, found {len(found)}; there are: "
                f"{', '.join(names) or 'none'}"
            )
        return found[0]

    def put_record(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object durably under `name` (a final training, a measurement), so that resuming need not
        do that work again. Replaces what was there. Raises ValueError on NaN or infinity."""
        self._storage.put_record(self._scope, name, value)

    def get_record(self, name: str) -> dict[str, Any] | None:
        """What `put_record` kept under `name`, or None."""
        return self._storage.get_record(self._scope, name)

    def forget(self) -> None:
        """Delete all that was written in this scope, which must have a name."""
        self._storage.forget(self._scope)

    def close(self) -> None:
        """Close the database. Safe to call twice."""
        self._storage.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()
