"""One searcher's account: it proposes, pays, and gets evaluations back, the same ones again after a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture, Choices
from evaluation.barriers import Barriers
from evaluation.children import Children, Finished, Key, key_of
from evaluation.evaluator import BudgetExhausted, ReplayDivergence, SpaceExhausted
from evaluation.objectives import Objective
from evaluation.packed import History, PackedEvaluations
from evaluation.results import ChildResult, Evaluation, FailureReason, Fidelity
from evaluation.scoring import Scoring, checked_result, is_lost, without_effort
from evaluation.session_log import Answers, ReplayLog
from evaluation.storage import Storage
from evaluation.tables import LoggedProposal, SessionRecord
from evaluation.under_way import UnderWay

_log = logging.getLogger(__name__)

FREE_IN_A_ROW = 1000
"""So many free proposals in a row mean that nothing new is being asked for."""
_ROUNDING = 1e-9
"""Budgets and costs are sums of floats."""


class LedgerSession:
    """Gives one searcher its scores and keeps its account; `Ledger.session` makes it.

    Proposals are numbered from 0. They are written down before they are evaluated, and each result is
    written, with what it cost, before it is handed back. A session over a log that exists already *replays*
    it: the searcher must propose the same again (else `ReplayDivergence`), gets the logged results without
    evaluation or charge, and goes on where the log ends.

    What a proposal costs: `fidelity.cost` the first time this session asks for a digest at that fidelity, even if
    the shared cache answers; 0 for its repeats, for proposals over a hard limit, and for infrastructure failures
    (those may be asked for again, and pay then). What it cost counts from when it is handed back, and until then
    what it may cost: so the account depends on the order of proposals alone, never on which child ended first.

    Evaluations are handed back in order of proposal, or with `by_arrival` in the order in which they came: that is logged with
    each, and repeated by a session over the log.

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
        by_arrival: bool = False,
        on_result: Callable[[Evaluation], None] | None = None,
    ) -> None:
        self.budget = budget
        self.on_result = on_result
        self.seconds = 0.0
        self._storage = storage
        self._record = record
        self._scoring = scoring
        self._log = ReplayLog(storage, record)
        self._given = PackedEvaluations(record.space_digest)  # what was handed out
        self._ahead = UnderWay(by_arrival=by_arrival, arrived=self._log.results)
        self._spent = 0.0
        self._answers = Answers()
        self._children = Children(storage, scoring)
        self._free_in_a_row = 0
        self._barriers = Barriers()

    @property
    def name(self) -> str:
        """Strategy and seed, as in "ppo-0"."""
        return self._record.name

    @property
    def fidelity(self) -> Fidelity:
        """How children are trained in full."""
        return self._scoring.fidelity

    @property
    def spent(self) -> float:
        """What the proposals handed back have cost."""
        return self._spent

    @property
    def remaining(self) -> float:
        """What is left of the budget when everything under way is paid."""
        return max(0.0, self.budget - self._spent - self._ahead.may_cost)

    @property
    def under_way(self) -> int:
        """Number of proposals made and not handed back yet."""
        return len(self._ahead)

    @property
    def _made(self) -> int:
        return len(self._given) + len(self._ahead)

    @property
    def must_drain(self) -> bool:
        """Whether a barrier comes next, so that everything under way is to be collected before more is submitted."""
        return self.under_way > 0 and self._barriers.is_at(self._made)

    @property
    def unpaid(self) -> float:
        """What the budget leaves after all that the log holds, replayed or not."""
        return max(0.0, self.budget - max(self._log.charged, self._spent))

    @property
    def logged(self) -> int:
        """Number of proposals in the log, replayed or not."""
        return max(len(self._log), self._made)

    @property
    def replaying(self) -> bool:
        """Whether the log still holds proposals that come after the last one made."""
        return self._made < len(self._log)

    @property
    def history(self) -> Sequence[Evaluation]:
        """All evaluations handed back so far, in order; made anew from a compact form when they are looked at."""
        return History(self._given, len(self._given))

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

    @property
    def cost_version(self) -> int:
        """The `model_version` of costs that are expected and given now; a barrier may change it."""
        return self._scoring.costing.version

    def set_barriers(self, every: int, at_barrier: Callable[[int], None]) -> None:
        """Call `at_barrier(count)` whenever `count` proposals, a multiple of `every`, have been handed back.

        Nothing is open or under way then, and no later proposal has been written down. A replayed session calls it at
        the same counts again.

        Raises:
            ValueError: proposals were made already, or `every` is below 1.
        """
        if self._made or every < 1:
            raise ValueError("barriers, 1 or more proposals apart, come before the first proposal")
        self._barriers = Barriers(every, at_barrier)

    def start_at(self, sequence: int) -> None:
        """Take the first `sequence` proposals from the log, as if they had just been made and handed back.

        For searchers with a checkpoint of their own. Costs and novelty are the log's at that place.

        Raises:
            ValueError: proposals were made already.
            ReplayDivergence: the log is shorter, or holds proposals without a result before that place.
        """
        if self._made:
            raise ValueError("start_at comes before the first proposal")
        ready = self._log.finished(sequence)
        if ready < sequence:
            raise ReplayDivergence(
                f"session {self.name}: the checkpoint is at proposal {sequence}, but only {ready} "
                f"of the log's {len(self._log)} before it have results; use an older checkpoint"
            )
        for number in range(sequence):
            evaluation = self._log[number].evaluation
            assert evaluation is not None, "all of them are finished"
            assert evaluation.arrival is None, "nothing is under way at a checkpoint"
            self._replay(evaluation)
            self._hand_out(number + 1)
        for evaluation in self.history:
            self._tell(evaluation)
        self._barriers.pass_all(0, sequence)

    def evaluate(self, batch: Sequence[Choices]) -> list[Evaluation]:
        """Propose, wait, and get one evaluation a proposal, in order.

        Raises:
            BudgetExhausted: the budget does not reach for the whole batch. The proposals before that
                point are logged, evaluated and in `history`; this is the end of the search.
            SpaceExhausted, ReplayDivergence, InvalidChoices: see `submit`.
            EvaluatorUnavailable, LedgerError: see `collect`.
        """
        if self._ahead:
            raise ValueError("collect what was submitted before, then evaluate")
        results: list[Evaluation] = []
        while len(results) < len(batch):
            self.submit(batch[len(results) :])
            results += sorted(self.collect(), key=lambda evaluation: evaluation.sequence)
        return results

    def submit(self, batch: Sequence[Choices], fidelity: Fidelity | None = None) -> list[int]:
        """Write proposals down; evaluating them is for `collect`.

        They are trained at `fidelity`, or in full where it is not given or the session's own. Where the budget does not
        reach for all of them, only the first ones that it can pay for are taken; where a barrier comes, only those
        before it.

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
            return self._submit(batch, None if fidelity == self.fidelity else fidelity)

    def _submit(self, batch: Sequence[Choices], reduced: Fidelity | None) -> list[int]:
        self._check_not_over(reduced)
        if self.must_drain:
            raise ValueError("a barrier comes next: collect what was submitted before it")
        first = self._made
        architectures = [self._scoring.space.architecture(choices) for choices in batch]
        architectures = architectures[: self._barriers.room(first)]
        new: list[LoggedProposal] = []
        for architecture in architectures:
            if not self._affordable(architecture, reduced):
                break
            self._propose(architecture, reduced, new)
        self._storage.log(self._record, new)
        self._announce(first)
        return list(range(first, self._made))

    def collect(self, count: int | None = None) -> list[Evaluation]:
        """Evaluate what was submitted; one evaluation a proposal not yet handed out, in the session's order.

        With `count`, only the next so many are waited for (fewer where fewer were submitted), while the children of
        later proposals train already, and go on training when this returns.

        Can be called again after an exception: results that were ready are kept.

        Raises:
            EvaluatorUnavailable: nothing can be evaluated; results so far are kept.
            LedgerError: a result cannot be written.
        """
        with self._timed():
            return self._collect(count)

    def stop(self) -> None:
        """Give up the children that are still training after a `collect` of some; collecting begins them anew."""
        self._children.stop()

    def _collect(self, count: int | None) -> list[Evaluation]:
        made, before = self._made, len(self._given)
        until = made if count is None else min(made, before + count)
        if count is None:
            for finished in self._children.all_results():
                self._finish(finished)
        else:
            self._finish_until(until)
        handed = self._hand_out(until)
        self._barriers.pass_all(before, until)
        return handed

    def _finish_until(self, until: int) -> None:
        try:
            while not self._ahead.ready(until - len(self._given)):
                for finished in self._children.next_results():
                    self._finish(finished)
        except BaseException:
            self._children.stop()  # its results would have nowhere to go
            raise

    def _hand_out(self, until: int) -> list[Evaluation]:
        handed = []
        while len(self._given) < until:
            evaluation = self._ahead.hand_back()
            self._given.append(evaluation)
            self._spent += evaluation.charged
            handed.append(evaluation)
        return handed

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def _check_not_over(self, reduced: Fidelity | None) -> None:
        if self.replaying:
            return  # what is logged was allowed, wherever batches began and ended
        if self._free_in_a_row >= FREE_IN_A_ROW:
            raise SpaceExhausted(
                f"session {self.name}: the last {FREE_IN_A_ROW} proposals were all free "
                "(known already, or over a limit)"
            )
        if self.remaining < self._cost(reduced) - _ROUNDING:
            spent = self.budget - self.remaining
            raise BudgetExhausted(
                f"session {self.name}: {spent:g} of {self.budget:g} children are spent"
            )

    def _cost(self, reduced: Fidelity | None) -> float:
        return (reduced or self.fidelity).cost

    def _affordable(self, architecture: Architecture, reduced: Fidelity | None) -> bool:
        sequence, key = self._made, (architecture.digest, reduced)
        logged = self._log[sequence].evaluation if sequence < len(self._log) else None
        if logged is not None:
            cost = logged.charged
        elif self._answers.get(key) is not None or key in self._children:
            cost = 0.0
        else:
            cost = self._cost(reduced)
        return cost <= self.remaining + _ROUNDING

    def _propose(
        self, architecture: Architecture, reduced: Fidelity | None, new: list[LoggedProposal]
    ) -> None:
        """Give the next sequence number: replayed, done at once, or open. Unlogged ones go to `new`."""
        sequence, key = self._made, (architecture.digest, reduced)
        logged = self._log[sequence] if sequence < len(self._log) else None
        if logged is not None:
            self._check_replay(logged, architecture, reduced)
        if logged is not None and logged.evaluation is not None:
            self._replay(logged.evaluation)
            return
        proposal = logged or LoggedProposal(
            sequence=sequence,
            architecture=architecture,
            is_new=key not in self._answers,
            evaluation=None,
            fidelity=reduced,
        )
        self._answers.ask(key)
        evaluation = self._answer_at_once(proposal)
        pays = evaluation is None and self._children.add(proposal)
        self._ahead.add(sequence, self._cost(reduced) if pays else 0.0)
        if evaluation is not None:
            proposal = replace(proposal, evaluation=evaluation)
            self._settle(evaluation)
        self._free_in_a_row = 0 if pays else self._free_in_a_row + 1
        if logged is None:
            new.append(proposal)
        elif evaluation is not None:
            self._storage.finish(self._record, [evaluation])

    def _check_replay(
        self, logged: LoggedProposal, architecture: Architecture, reduced: Fidelity | None
    ) -> None:
        if (logged.architecture.choices, logged.fidelity) != (architecture.choices, reduced):
            raise ReplayDivergence(
                f"session {self.name}, proposal {logged.sequence}: the log says "
                f"{list(logged.architecture.choices)} at {logged.fidelity or 'full fidelity'}, the resumed search "
                f"proposes {list(architecture.choices)} at {reduced or 'full fidelity'}; resume with the settings, "
                "seed and versions that it was begun with, or start a new run"
            )

    def _replay(self, evaluation: Evaluation) -> None:
        """Take a logged evaluation as this session's own."""
        is_first = (key := _key(evaluation)) not in self._answers
        self._answers.ask(key)
        # a child that was lost might have cost as much as any other until it was handed back
        lost = is_first and is_lost(evaluation.result)
        may_cost = self._cost(evaluation.fidelity) if lost else evaluation.charged
        self._ahead.add(evaluation.sequence, may_cost)
        self._settle(evaluation)
        is_free = evaluation.charged == 0 and not is_lost(evaluation.result)
        self._free_in_a_row = self._free_in_a_row + 1 if is_free else 0

    def _answer_at_once(self, proposal: LoggedProposal) -> Evaluation | None:
        """The evaluation of a repeat of something known, or of a network over a limit; else None."""
        architecture = proposal.architecture
        known = self._answers.get(key_of(proposal))
        if known is not None:
            result = self._at(known).result
            assert result is not None, "what answers has a result"
            return self._evaluation(proposal, without_effort(result), charged=0.0)
        if key_of(proposal) in self._children:
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
            fidelity=proposal.fidelity,
            arrival=self._ahead.arrival(),
        )

    def _finish(self, finished: Finished) -> None:
        """Write a result with its charge, for the proposal that pays and its repeats, in one transaction."""
        child, result = finished.child, checked_result(finished.result)
        digest = child.task.architecture.digest
        lost = is_lost(result)
        if result.failure is not None:
            _log.warning("%s: %s: %s", digest, result.failure, result.message)
        if result.failure is FailureReason.TIMEOUT and finished.trained:
            _log.warning(
                "a time-out depends on how busy the machine is: resuming repeats it, "
                "but another run with this seed may differ from here on"
            )
        payer, *repeats = child.proposals
        cost = 0.0 if lost else child.task.fidelity.cost
        evaluations = [self._evaluation(payer, result, charged=cost)]
        evaluations += [
            self._evaluation(repeat, without_effort(result), charged=0.0, later=1 + number)
            for number, repeat in enumerate(repeats)
        ]
        to_cache = finished.trained and not lost
        entry = (self._scoring.key(child.task), result) if to_cache else None
        self._storage.finish(self._record, evaluations, cache=entry)
        self._children.remove(child)
        for evaluation in evaluations:
            self._settle(evaluation)
        for evaluation in evaluations:
            self._tell(evaluation)

    def _evaluation(
        self, proposal: LoggedProposal, result: ChildResult, *, charged: float, later: int = 0
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
            fidelity=proposal.fidelity,
            arrival=self._ahead.arrival(later),
        )

    def _settle(self, evaluation: Evaluation) -> None:
        """Put a durable evaluation into the account."""
        self._ahead.settle(evaluation)
        if evaluation.result is not None and not is_lost(evaluation.result):
            self._answers.answer(_key(evaluation), evaluation.sequence)

    def _at(self, sequence: int) -> Evaluation:
        """A proposal that has its evaluation, handed out or not."""
        if sequence in self._ahead:
            evaluation = self._ahead[sequence]
            assert evaluation is not None, "asked for before it is known"
            return evaluation
        return self._given.of_sequence(sequence)

    def _announce(self, first: int) -> None:
        """Tell of those from sequence `first` on that are known at once; none of them was handed out."""
        for evaluation in list(self._ahead.known_from(first)):
            self._tell(evaluation)

    def _tell(self, evaluation: Evaluation) -> None:
        if self.on_result is not None:
            self.on_result(evaluation)


def _key(evaluation: Evaluation) -> Key:
    return evaluation.architecture.digest, evaluation.fidelity
