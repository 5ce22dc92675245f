"""One searcher's account: it proposes, pays, and gets evaluations back, the same ones again after a restart."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import cast

from archspace import Architecture, Choices, Network, SearchSpace
from evaluation.costing import Costing
from evaluation.evaluator import (
    BudgetExhausted,
    EvaluationError,
    Evaluator,
    ReplayDivergence,
    SpaceExhausted,
    child_seed,
)
from evaluation.limits import LimitsConfig, violation
from evaluation.objectives import Objective
from evaluation.results import (
    ChildResult,
    ChildTask,
    Evaluation,
    FailureReason,
    Fidelity,
    NetworkCosts,
)
from evaluation.storage import LoggedProposal, SessionRecord, Storage

_log = logging.getLogger(__name__)

FREE_IN_A_ROW = 1000
"""So many free proposals in a row mean that nothing new is being asked for."""
_ROUNDING = 1e-9
"""Budgets and costs are sums of floats."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a session's proposals are evaluated and judged; the same for its whole life."""

    space: SearchSpace
    evaluator: Evaluator
    costing: Costing
    objective: Objective
    limits: LimitsConfig
    fidelity: Fidelity
    training_seed: int
    replicate: int = 0

    @property
    def settings(self) -> dict[str, str]:
        """What a resumed session must agree on, as text by name."""
        fidelity = self.fidelity
        return {
            "space": self.space.digest,
            "evaluator": self.evaluator.key,
            "objective": self.objective.settings,
            "limits": self.limits.model_dump_json(),
            "fidelity": f"{fidelity.name}, {fidelity.epochs} epochs, cost {fidelity.cost:g}",
            "training seed": str(self.training_seed),
            "replicate": str(self.replicate),
        }

    def task(self, architecture: Architecture) -> ChildTask:
        """What the evaluator is to do."""
        digest = architecture.digest
        return ChildTask(
            architecture=architecture,
            network=self.network(architecture) if self.evaluator.needs_network else None,
            fidelity=self.fidelity,
            replicate=self.replicate,
            seed=child_seed(self.training_seed, digest, self.fidelity, self.replicate),
        )

    def key(self, task: ChildTask) -> str:
        """Under what the shared cache keeps the result."""
        fidelity = f"{task.fidelity.name}-{task.fidelity.epochs}"
        return f"{self.evaluator.key}/{task.architecture.digest}/{fidelity}/{task.seed}"

    def network(self, architecture: Architecture) -> Network:
        """The resolved network."""
        return self.space.resolve(architecture.choices)

    def costs(
        self, architecture: Architecture, exit_shares: tuple[float, ...] | None
    ) -> NetworkCosts | None:
        """Costs with the given shares of samples leaving at each head; None: predicted shares."""
        return self.costing.costs(architecture, self.network(architecture), exit_shares)

    def refusal(self, costs: NetworkCosts | None) -> str:
        """Why a network is not evaluated: the limit it breaks, or that its costs are unknown; else ""."""
        if costs is not None:
            return violation(costs, self.limits)
        if self.objective.needs_costs or self.limits.any:
            return "its costs are unknown"
        return ""

    def reward(self, result: ChildResult, costs: NetworkCosts | None, step: int) -> float:
        """The objective's value; the failure reward for a failed child."""
        if result.accuracy is None:
            return self.objective.failure_reward
        return self.objective.reward(
            result.accuracy,
            costs.latency_ms.value if costs else None,
            costs.energy_mj.value if costs else None,
            step,
        )


@dataclass
class _Open:
    """An architecture whose result is awaited: the proposal that pays, and its repeats, by sequence."""

    task: ChildTask
    proposals: list[LoggedProposal] = field(default_factory=list)


class LedgerSession:
    """Gives one searcher its scores and keeps its account; `Ledger.session` makes it.

    Proposals are numbered from 0. They are written down before they are evaluated, and each result is
    written, with what it cost, before it is handed back. A session over a log that exists already *replays*
    it: the searcher must propose the same again (else `ReplayDivergence`), gets the logged results without
    evaluation or charge, and goes on where the log ends.

    What a proposal costs: `fidelity.cost` the first time this session asks for a digest, even if the shared
    cache answers; 0 for its repeats, for proposals over a hard limit, and for infrastructure failures
    (those may be asked for again, and pay then).

    Attributes:
        budget: what all proposals together may cost.
        on_result: called with each evaluation that this session hands out, replayed ones included, as soon as it
            is durable; in order of completion.
    """

    def __init__(
        self,
        storage: Storage,
        record: SessionRecord,
        scoring: Scoring,
        *,
        budget: float,
        on_result: Callable[[Evaluation], None] | None = None,
    ) -> None:
        self.budget = budget
        self.on_result = on_result
        self._storage = storage
        self._record = record
        self._scoring = scoring
        self._log = storage.proposals(record)
        self._done: list[Evaluation | None] = []  # by sequence; None while open
        self._given = 0  # how many of _done were handed out
        self._spent = 0.0
        self._asked: set[str] = set()
        self._results: dict[str, ChildResult] = {}  # by digest; infrastructure failures are not in it
        self._open: dict[str, _Open] = {}  # by digest, in order of proposal
        self._free_in_a_row = 0

    @property
    def name(self) -> str:
        """Strategy and seed, as in "ppo-0"."""
        return self._record.name

    @property
    def spent(self) -> float:
        """What the proposals with a result have cost."""
        return self._spent

    @property
    def remaining(self) -> float:
        """What is left of the budget when everything under way is paid."""
        reserved = len(self._open) * self._scoring.fidelity.cost
        return max(0.0, self.budget - self._spent - reserved)

    @property
    def logged(self) -> int:
        """Number of proposals in the log, replayed or not."""
        return max(len(self._log), len(self._done))

    @property
    def replaying(self) -> bool:
        """Whether the log still holds proposals that come after the last one made."""
        return len(self._done) < len(self._log)

    @property
    def history(self) -> list[Evaluation]:
        """Evaluations of all proposals made so far that have one, in order."""
        return [evaluation for evaluation in self._done if evaluation is not None]

    def start_at(self, sequence: int) -> None:
        """Take the first `sequence` proposals from the log, as if they had just been made and handed back.

        For searchers with a checkpoint of their own. Costs and novelty are the log's at that place.

        Raises:
            ValueError: proposals were made already.
            ReplayDivergence: the log is shorter, or holds proposals without a result before that place.
        """
        if self._done:
            raise ValueError("start_at comes before the first proposal")
        ready = [p.evaluation for p in self._log[:sequence] if p.evaluation is not None]
        if len(ready) < sequence:
            raise ReplayDivergence(
                f"session {self.name}: the checkpoint is at proposal {sequence}, but only "
                f"{len(ready)} of the log's {len(self._log)} before it have results; use an older one"
            )
        for evaluation in ready:
            self._done.append(None)
            self._settle(evaluation)
        self._given = sequence

    def evaluate(self, batch: Sequence[Choices]) -> list[Evaluation]:
        """Propose, wait, and get one evaluation a proposal, in order.

        Raises:
            BudgetExhausted: the budget does not reach for the whole batch. The proposals before that
                point are logged, evaluated and in `history`; this is the end of the search.
            SpaceExhausted, ReplayDivergence, EvaluatorUnavailable, LedgerError, InvalidChoices.
        """
        results: list[Evaluation] = []
        while len(results) < len(batch):
            self.submit(batch[len(results) :])
            results += self.collect()
        return results

    def submit(self, batch: Sequence[Choices]) -> list[int]:
        """Write proposals down; their evaluation is for `collect`.

        Where the budget does not reach for all of them, only the first ones that it can pay for are taken.

        Returns:
            The sequence number of each proposal taken.

        Raises:
            BudgetExhausted: it reaches for none.
            SpaceExhausted: the last 1,000 proposals were all free.
            ReplayDivergence: the log holds other proposals at this place.
            InvalidChoices: a proposal is not a point of the space; nothing of the batch is taken.
        """
        if self._free_in_a_row >= FREE_IN_A_ROW:
            raise SpaceExhausted(
                f"session {self.name}: the last {FREE_IN_A_ROW} proposals were known or over a limit"
            )
        architectures = [self._scoring.space.architecture(choices) for choices in batch]
        first = len(self._done)
        new: list[LoggedProposal] = []
        try:
            for architecture in architectures:
                if not self._affordable(architecture):
                    break
                self._propose(architecture, new)
        finally:
            self._storage.log(self._record, new)
        for sequence in range(first, len(self._done)):
            self._announce(sequence)
        if len(self._done) == first and batch:
            raise BudgetExhausted(
                f"session {self.name}: {self._spent:g} of {self.budget:g} children are spent"
            )
        return list(range(first, len(self._done)))
