"""A toy world with fidelities, and workers that finish in any order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from archspace import Network
from envs import CostBounds
from evaluation import ChildPool, ChildResult, ChildTask, Evaluation, FailureReason, LedgerSession
from search.halving import HalvingSearch
from search.halving_config import HalvingConfig, RungConfig, rungs_of
from search.strategies import (
    PPOConfig,
    RandomConfig,
    StrategyConfig,
    SurrogateConfig,
    make_strategy,
)
from search.strategy import BatchStrategy
from tests.search.strategy_toys import FIDELITY, Killed, ToyEvaluator, toy_accuracy, toy_session

CONFIGS: tuple[StrategyConfig, ...] = (
    RandomConfig(batch_size=4),
    SurrogateConfig(batch_size=3, initial=8, random_candidates=64, mutants=64),
    PPOConfig(
        batch_size=3, initial=8, imagined_envs=8, imagined_steps=64, epochs=1, minibatch=32,
        random_candidates=64, mutants=64,
    ),
)  # fmt: skip
HALVING = HalvingConfig(
    rungs=(
        RungConfig(epochs=1, data_fraction=0.25, cost=0.125),
        RungConfig(epochs=1, data_fraction=0.5, cost=0.5),
    ),
    reduction=2,
    window=5,
)
RUNGS = rungs_of(HALVING, FIDELITY)


def rung_accuracy(network: Network, task: ChildTask) -> float:
    """The toy's accuracy, lower and noisier the cheaper the rung; the noise follows from the task's seed."""
    noise = int.from_bytes(hashlib.sha256(str(task.seed).encode()).digest()[:4], "big") / 2**32
    lack = 1 - task.fidelity.cost
    return max(0.0, toy_accuracy(network) * (1 - 0.3 * lack) + 0.1 * lack * (noise - 0.5))


class ShuffledPool(ChildPool):
    """`workers` children run at a time; chance decides which of them ends next."""

    def __init__(self, evaluator: RungEvaluator, workers: int, seed: int) -> None:
        self._evaluator, self._workers = evaluator, workers
        self._random = random.Random(seed)
        self._tasks: dict[int, ChildTask] = {}

    def add(self, number: int, task: ChildTask) -> None:
        assert number not in self._tasks
        self._tasks[number] = task

    def wait(self) -> list[tuple[int, ChildResult]]:
        if not self._tasks:
            return []
        number = self._random.choice(list(self._tasks)[: self._workers])
        return [(number, self._evaluator.result(self._tasks.pop(number)))]

    def close(self) -> None:
        self._tasks.clear()


class RungEvaluator(ToyEvaluator):
    """Trains for `rung_accuracy` on `workers` that finish in an order drawn from `seed`."""

    def __init__(
        self,
        *,
        workers: int = 1,
        seed: int = 0,
        fail_every: int = 0,
        lost: frozenset[str] = frozenset(),
        die_after: int | None = None,
    ) -> None:
        super().__init__(fail_every=fail_every, die_after=die_after)
        self._workers, self._seed, self._lost = workers, seed, lost
        self.trained: list[tuple[str, str]] = []

    def pool(self) -> ChildPool:
        return ShuffledPool(self, self._workers, self._seed)

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, task in enumerate(tasks):
            yield index, self.result(task)

    def result(self, task: ChildTask) -> ChildResult:
        """What comes of the child."""
        if self._die_after is not None and len(self.trained) >= self._die_after:
            raise Killed
        digest = task.architecture.digest
        self.trained.append((digest, task.fidelity.name))
        if digest in self._lost:
            return ChildResult(digest=digest, failure=FailureReason.LOST, message="toy")
        if self._fail_every and int(digest[:8], 16) % self._fail_every == 0:
            return ChildResult(digest=digest, failure=FailureReason.NONFINITE, message="toy")
        assert task.network is not None
        accuracy, heads = rung_accuracy(task.network, task), len(task.network.heads)
        return ChildResult(
            digest=digest,
            accuracy=accuracy,
            accuracy_no_exit=accuracy,
            exit_thresholds=(0.5,) * (heads - 1),
            exit_shares=(1 / heads,) * heads,
        )


def halving_session(
    config: StrategyConfig,
    bounds: CostBounds,
    path: Path,
    *,
    budget: float,
    evaluator: RungEvaluator | None = None,
    halving: HalvingConfig = HALVING,
    seed: int = 7,
) -> LedgerSession:
    """A search with halving, to its end."""
    session = toy_session(path, bounds, budget=budget, evaluator=evaluator or RungEvaluator())
    run_halving(config, bounds, session, halving=halving, seed=seed)
    return session


def run_halving(
    config: StrategyConfig,
    bounds: CostBounds,
    session: LedgerSession,
    *,
    halving: HalvingConfig = HALVING,
    seed: int = 7,
) -> BatchStrategy:
    """Search in `session`; the strategy that did."""
    strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=seed)
    assert isinstance(strategy, BatchStrategy)
    HalvingSearch(strategy, halving, rungs_of(halving, session.fidelity)).run(session)
    return strategy


def table(history: list[Evaluation]) -> list[tuple[object, ...]]:
    """What a repeated search repeats."""
    return [
        (e.sequence, e.architecture.choices, e.fidelity, e.reward, e.charged, e.is_new, e.rejected)
        for e in history
    ]
