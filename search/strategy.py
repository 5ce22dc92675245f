"""The contract of everything that proposes architectures."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from archspace import Choices
from envs import CostBounds, LimitedSpace
from evaluation import BudgetExhausted, Fidelity, LedgerSession, SpaceExhausted
from search.analysis import Learnt

_log = logging.getLogger(__name__)


class Strategy(ABC):
    """Proposes architectures to a session of the ledger until its budget is spent.

    A strategy's proposals depend on its config, its seed, the space with its limits and the evaluations handed
    back, and on nothing else: not on time, worker counts or global random states. Run again over the same log,
    it repeats itself proposal by proposal; that is how a stopped search is resumed.

    Args:
        bounds: the space with its additive costs and hard limits. Only choices that its masks allow
            are proposed.
        seed: of this strategy's own random numbers.
    """

    name: ClassVar[str]

    def __init__(self, bounds: CostBounds, seed: int) -> None:
        self.bounds = bounds
        self.space = LimitedSpace(bounds)
        self.seed = seed

    def run(self, session: LedgerSession) -> None:
        """Search until the budget is spent or nothing new is found; both are normal ends."""
        try:
            self.search(session)
        except BudgetExhausted:
            _log.info("%s: the budget is spent", self.name)
        except SpaceExhausted as error:
            _log.warning("%s: ended with budget left: %s", self.name, error)

    @abstractmethod
    def search(self, session: LedgerSession) -> None:
        """Propose and learn, for ever: BudgetExhausted or SpaceExhausted end it."""

    def learnt(self, session: LedgerSession) -> Learnt:
        """What there is to tell people after `run`; nothing by default."""
        return Learnt()


class BatchStrategy(Strategy):
    """One that can say what it would evaluate next while others are still under way: what `WindowedSearch` asks.

    `start` once, then `propose` as often as new architectures are wanted; nothing else of the process disturbs what
    is random about them.
    """

    def use_rungs(self, rungs: Sequence[Fidelity]) -> None:
        """Children will be trained at these fidelities, the full one last. Before `start`; by default no matter."""

    @abstractmethod
    def start(self, session: LedgerSession) -> None:
        """Begin with nothing known."""

    @abstractmethod
    def propose(self, session: LedgerSession) -> list[Choices]:
        """A batch of at least one architecture not proposed before, from what `session.history` holds by now.

        Raises:
            SpaceExhausted: there is nothing new.
        """
