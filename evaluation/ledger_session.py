"""One searcher's account: it proposes, pays, and gets evaluations back, the same ones again after a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture, Choices
from evaluation.evaluator import (
    BudgetExhausted,
    EvaluationError,
    ReplayDivergence,
    SpaceExhausted,
)
from evaluation.objectives import Objective
from evaluation.results import ChildResult, ChildTask, Evaluation, FailureReason
from evaluation.scoring import Scoring, checked_result, is_lost, without_effort
from evaluation.storage import Storage
from evaluation.tables import LoggedProposal, SessionRecord

_log = logging.getLogger(__name__)

FREE_IN_A_ROW = 1000
"""So many free proposals in a row mean that nothing new is being asked for."""
_ROUNDING = 1e-9
"""Budgets and costs are sums of floats."""


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
        seconds: spent in `submit` and `collect`, evaluation and writing included.
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
        self.seconds = 0.0
        self._storage = storage
        self._record = record
        self._scoring = scoring
        self._log = storage.proposals(record)
        self._done: list[Evaluation | None] = []  # by sequence; None while open
        self._given = 0  # how many of _done were handed out
        self._spent = 0.0
        self._asked: set[str] = set()
        self._results: dict[
            str, ChildResult
        ] = {}  # by digest; infrastructure failures are not in it
        self._open: dict[str, _Open] = {}  # by digest, in order of proposal
        self._free_in_a_row = 0
        self._every = 0
        self._at_barrier: Callable[[int], None] = lambda count: None

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
    def unpaid(self) -> float:
        """What the budget leaves after all that the log holds, replayed or not."""
        logged = sum(p.evaluation.charged for p in self._log if p.evaluation is not None)
        return max(0.0, self.budget - max(logged, self._spent))

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

    @property
    def objective(self) -> Objective:
        """What gives the rewards."""
        return self._scoring.objective

    def expected_costs(self, batch: Sequence[Choices]) -> NDArray[np.float64]:
        """What is known of architectures' costs without proposing them: free, and nothing is logged.

        Returns:
            (architectures, 2): expected latency in ms and energy in mJ; NaN where unknown.
        """
        return self._scoring.expected_costs(batch)

    def set_barriers(self, every: int, at_barrier: Callable[[int], None]) -> None:
        """Call `at_barrier(count)` whenever `count` proposals, a multiple of `every`, have been handed back.

        Nothing is open or under way then, and no later proposal has been written down. A replayed session calls it at
        the same counts again.

        Raises:
            ValueError: proposals were made already, or `every` is below 1.
        """
        if self._done or every < 1:
            raise ValueError("barriers, 1 or more proposals apart, come before the first proposal")
        self._every, self._at_barrier = every, at_barrier

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
                f"session {self.name}: the checkpoint is at proposal {sequence}, but only {len(ready)} "
                f"of the log's {len(self._log)} before it have results; use an older checkpoint"
            )
        for evaluation in ready:
            self._done.append(None)
            self._replay(evaluation)
        self._given = sequence
        self._announce(0)
        if self._every:
            for count in range(self._every, sequence + 1, self._every):
                self._at_barrier(count)

    def evaluate(self, batch: Sequence[Choices]) -> list[Evaluation]:
        """Propose, wait, and get one evaluation a proposal, in order.

        Raises:
            BudgetExhausted: the budget does not reach for the whole batch. The proposals before that
                point are logged, evaluated and in `history`; this is the end of the search.
            SpaceExhausted, ReplayDivergence, InvalidChoices: see `submit`.
            EvaluatorUnavailable, LedgerError: see `collect`.
        """
        if self._given < len(self._done):
            raise ValueError("collect what was submitted before, then evaluate")
        results: list[Evaluation] = []
        while len(results) < len(batch):
            self.submit(batch[len(results) :])
            results += self.collect()
        return results

    def submit(self, batch: Sequence[Choices]) -> list[int]:
        """Write proposals down; evaluating them is for `collect`.

        Where the budget does not reach for all of them, only the first ones that it can pay for are taken; where a
        barrier comes, only those before it.

        Returns:
            The sequence number of each proposal taken.

        Raises:
            ValueError: a barrier comes next, and what was submitted before it is not collected.
            BudgetExhausted: it reaches for none.
            SpaceExhausted: the last 1,000 proposals were all free.
            ReplayDivergence: the log holds another proposal at this place.
            InvalidChoices: a proposal is not a point of the space; nothing of the batch is taken.
            LedgerError: it cannot be written.
        """
        with self._timed():
            return self._submit(batch)

    def _submit(self, batch: Sequence[Choices]) -> list[int]:
        self._check_not_over()
        first = len(self._done)
        architectures = [self._scoring.space.architecture(choices) for choices in batch]
        architectures = architectures[: self._before_barrier()]
        new: list[LoggedProposal] = []
        for architecture in architectures:
            if not self._affordable(architecture):
                break
            self._propose(architecture, new)
        self._storage.log(self._record, new)
        self._announce(first)
        return list(range(first, len(self._done)))

    def collect(self) -> list[Evaluation]:
        """Evaluate what was submitted; one evaluation a proposal not yet handed out, in order.

        Can be called again after an exception: results that were ready are kept.

        Raises:
            EvaluatorUnavailable: nothing can be evaluated; results so far are kept.
            LedgerError: a result cannot be written.
        """
        with self._timed():
            return self._collect()

    def _collect(self) -> list[Evaluation]:
        self._answer_from_cache()
        waiting = list(self._open.values())
        if waiting:
            results = self._scoring.evaluator.evaluate([each.task for each in waiting])
            try:
                for index, result in results:
                    self._finish(waiting[index], result, to_cache=True)
            finally:
                if isinstance(results, Generator):
                    results.close()  # at once, not when the collector comes by: it holds workers
        if self._open:
            raise EvaluationError(
                f"the evaluator gave no result for {', '.join(sorted(self._open))}"
            )
        ready = self._done[self._given :]
        self._given = len(self._done)
        if ready and self._every and self._given % self._every == 0:
            self._at_barrier(self._given)
        return [evaluation for evaluation in ready if evaluation is not None]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def _before_barrier(self) -> int | None:
        """How many proposals may be made before the next barrier; None where there are none."""
        if not self._every:
            return None
        left = -len(self._done) % self._every
        if left == 0 and self._given < len(self._done):
            raise ValueError("a barrier comes next: collect what was submitted before it")
        return left or self._every

    def _check_not_over(self) -> None:
        if self.replaying:
            return  # what is logged was allowed, wherever batches began and ended
        if self._free_in_a_row >= FREE_IN_A_ROW:
            raise SpaceExhausted(
                f"session {self.name}: the last {FREE_IN_A_ROW} proposals were all free "
                "(known already, or over a limit)"
            )
        if self.remaining < self._scoring.fidelity.cost - _ROUNDING:
            raise BudgetExhausted(
                f"session {self.name}: {self._spent:g} of {self.budget:g} children are spent"
            )

    def _affordable(self, architecture: Architecture) -> bool:
        sequence = len(self._done)
        logged = self._log[sequence].evaluation if sequence < len(self._log) else None
        if logged is not None:
            cost = logged.charged
        elif architecture.digest in self._results or architecture.digest in self._open:
            cost = 0.0
        else:
            cost = self._scoring.fidelity.cost
        return cost <= self.remaining + _ROUNDING

    def _propose(self, architecture: Architecture, new: list[LoggedProposal]) -> None:
        """Give the next sequence number: replayed, done at once, or open. Unlogged ones go to `new`."""
        sequence, digest = len(self._done), architecture.digest
        logged = self._log[sequence] if sequence < len(self._log) else None
        if logged is not None:
            self._check_replay(logged, architecture)
        self._done.append(None)
        if logged is not None and logged.evaluation is not None:
            self._replay(logged.evaluation)
            return
        proposal = logged or LoggedProposal(
            sequence=sequence,
            architecture=architecture,
            is_new=digest not in self._asked,
            evaluation=None,
        )
        self._asked.add(digest)
        evaluation = self._answer_at_once(proposal)
        if evaluation is not None:
            proposal = replace(proposal, evaluation=evaluation)
            self._settle(evaluation)
        else:
            if digest not in self._open:
                self._open[digest] = _Open(self._scoring.task(architecture))
            self._open[digest].proposals.append(proposal)
        is_first = evaluation is None and len(self._open[digest].proposals) == 1
        self._free_in_a_row = 0 if is_first else self._free_in_a_row + 1
        if logged is None:
            new.append(proposal)
        elif evaluation is not None:
            self._storage.finish(self._record, [evaluation])

    def _check_replay(self, logged: LoggedProposal, architecture: Architecture) -> None:
        if logged.architecture.choices != architecture.choices:
            raise ReplayDivergence(
                f"session {self.name}, proposal {logged.sequence}: the log says "
                f"{list(logged.architecture.choices)}, the resumed search proposes "
                f"{list(architecture.choices)}; resume with the settings, seed and versions that it "
                "was begun with, or start a new run"
            )

    def _replay(self, evaluation: Evaluation) -> None:
        """Take a logged evaluation as this session's own."""
        self._asked.add(evaluation.architecture.digest)
        self._settle(evaluation)
        is_free = evaluation.charged == 0 and not is_lost(evaluation.result)
        self._free_in_a_row = self._free_in_a_row + 1 if is_free else 0

    def _answer_at_once(self, proposal: LoggedProposal) -> Evaluation | None:
        """The evaluation of a repeat of something known, or of a network over a limit; else None."""
        architecture = proposal.architecture
        known = self._results.get(architecture.digest)
        if known is not None:
            return self._evaluation(proposal, without_effort(known), charged=0.0)
        if architecture.digest in self._open:
            return None
        costs = self._scoring.costs(architecture, None)
        refusal = self._scoring.refusal(architecture, costs)
        if not refusal:
            return None
        return Evaluation(
            sequence=proposal.sequence,
            architecture=architecture,
            result=None,
            costs=costs,
            reward=self._scoring.objective.failure_reward,
            charged=0.0,
            is_new=proposal.is_new,
            rejected=refusal,
        )

    def _answer_from_cache(self) -> None:
        for each in list(self._open.values()):
            result = self._storage.cached(self._scoring.key(each.task))
            if result is not None:
                self._finish(each, without_effort(result), to_cache=False)

    def _finish(self, finished: _Open, result: ChildResult, *, to_cache: bool) -> None:
        """Write a result with its charge, for the proposal that pays and its repeats, in one transaction."""
        digest = finished.task.architecture.digest
        result = checked_result(result)
        lost = is_lost(result)
        if result.failure is not None:
            _log.warning("%s: %s: %s", digest, result.failure, result.message)
        if result.failure is FailureReason.TIMEOUT and to_cache:
            _log.warning(
                "a time-out depends on how busy the machine is: resuming repeats it, "
                "but another run with this seed may differ from here on"
            )
        payer, *repeats = finished.proposals
        cost = 0.0 if lost else self._scoring.fidelity.cost
        evaluations = [self._evaluation(payer, result, charged=cost)]
        evaluations += [self._evaluation(p, without_effort(result), charged=0.0) for p in repeats]
        entry = (self._scoring.key(finished.task), result) if to_cache and not lost else None
        self._storage.finish(self._record, evaluations, cache=entry)
        del self._open[digest]
        for evaluation in evaluations:
            self._settle(evaluation)
        for evaluation in evaluations:
            self._tell(evaluation)

    def _evaluation(
        self, proposal: LoggedProposal, result: ChildResult, *, charged: float
    ) -> Evaluation:
        shares = result.exit_shares if result.accuracy is not None else None
        costs = self._scoring.costs(proposal.architecture, shares)
        return Evaluation(
            sequence=proposal.sequence,
            architecture=proposal.architecture,
            result=result,
            costs=costs,
            reward=self._scoring.reward(result, costs, proposal.sequence),
            charged=charged,
            is_new=proposal.is_new,
        )

    def _settle(self, evaluation: Evaluation) -> None:
        """Put a durable evaluation into the account."""
        self._done[evaluation.sequence] = evaluation
        self._spent += evaluation.charged
        if evaluation.result is not None and not is_lost(evaluation.result):
            self._results.setdefault(evaluation.architecture.digest, evaluation.result)

    def _announce(self, first: int) -> None:
        for evaluation in self._done[first:]:
            if evaluation is not None:
                self._tell(evaluation)

    def _tell(self, evaluation: Evaluation) -> None:
        if self.on_result is not None:
            self.on_result(evaluation)
