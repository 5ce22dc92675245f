"""A session's children whose results are awaited: who pays for each, and where its result comes from."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from evaluation.child_pool import ChildPool
from evaluation.evaluator import EvaluationError
from evaluation.results import ChildResult, ChildTask, Fidelity
from evaluation.scoring import Scoring, without_effort
from evaluation.storage import Storage
from evaluation.tables import LoggedProposal

Key: TypeAlias = tuple[str, Fidelity | None]
"""What is paid for once: a digest at a reduced fidelity, or at the session's own (None)."""


def key_of(proposal: LoggedProposal) -> Key:
    """What the proposal asks for."""
    return proposal.architecture.digest, proposal.fidelity


@dataclass
class Child:
    """What is to be evaluated, for the proposal that pays and its repeats, by sequence."""

    task: ChildTask
    proposals: list[LoggedProposal] = field(default_factory=list)


@dataclass(frozen=True)
class Finished:
    """A child with its result; `trained` is False where the shared cache answered."""

    child: Child
    result: ChildResult
    trained: bool


class Children:
    """Those of one session, in order of proposal."""

    def __init__(self, storage: Storage, scoring: Scoring) -> None:
        self._storage = storage
        self._scoring = scoring
        self._open: dict[Key, Child] = {}
        self._pool: ChildPool | None = None
        self._begun: dict[int, Child] = {}  # in the pool, by the sequence of who pays

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def add(self, proposal: LoggedProposal) -> bool:
        """Await a result for `proposal`; whether it is the first to ask for it."""
        key = key_of(proposal)
        if key not in self._open:
            task = self._scoring.task(proposal.architecture, proposal.fidelity)
            self._open[key] = Child(task)
        self._open[key].proposals.append(proposal)
        return len(self._open[key].proposals) == 1

    def remove(self, child: Child) -> None:
        """Its result is written."""
        payer = child.proposals[0]
        del self._open[key_of(payer)]
        self._begun.pop(payer.sequence, None)

    def all_results(self) -> Iterator[Finished]:
        """A result for each, as they come; those that are not removed are asked for again next time.

        Raises:
            EvaluatorUnavailable: nothing can be evaluated.
            EvaluationError: the evaluator forgot some.
        """
        if self._pool is not None:
            while self._open:
                yield from self.next_results()
            return
        yield from self._cached(list(self._open.values()))
        waiting = list(self._open.values())
        if waiting:
            results = self._scoring.evaluator.evaluate([child.task for child in waiting])
            try:
                for index, result in results:
                    yield Finished(waiting[index], result, trained=True)
            finally:
                if isinstance(results, Generator):
                    results.close()  # at once, not when the collector comes by: it holds workers
        self._check_none_forgotten()

    def next_results(self) -> Iterator[Finished]:
        """At least one result, where any is awaited; the others go on meanwhile. Raises as `all_results` does."""
        pool = self._pool = self._pool or self._scoring.evaluator.pool()
        fresh = [c for c in self._open.values() if c.proposals[0].sequence not in self._begun]
        cached = list(self._cached(fresh))
        answered = {id(each.child) for each in cached}
        for child in fresh:
            if id(child) not in answered:
                number = child.proposals[0].sequence
                self._begun[number] = child
                pool.add(number, child.task)
        if cached:
            yield from cached
            return
        results = pool.wait()
        if not results:
            self._check_none_forgotten()
        for number, result in results:
            yield Finished(self._begun[number], result, trained=True)

    def stop(self) -> None:
        """Give up what is under way; it is begun anew if results are asked for again."""
        pool, self._pool = self._pool, None
        self._begun.clear()
        if pool is not None:
            pool.close()

    def _check_none_forgotten(self) -> None:
        if self._open:
            forgotten = sorted(digest for digest, _ in self._open)
            raise EvaluationError(f"the evaluator gave no result for {', '.join(forgotten)}")

    def _cached(self, children: list[Child]) -> Iterator[Finished]:
        for child in children:
            result = self._storage.cached(self._scoring.key(child.task))
            if result is not None:
                yield Finished(child, without_effort(result), trained=False)
