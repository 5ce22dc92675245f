"""A small real space, and evaluators and costs whose numbers follow from the digest alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from archspace import Architecture, Choices, Network, Shape, StagedSpace, StagedSpaceConfig
from child_models import Dataset, DigitsConfig, load_data
from evaluation import (
    ChildPool,
    ChildResult,
    ChildTask,
    Costing,
    EvaluationError,
    Evaluator,
    FailureReason,
    Fidelity,
    Ledger,
    LedgerSession,
    LimitsConfig,
    MinMaxConfig,
    NetworkCosts,
    NotSupported,
    ObjectiveBounds,
    TrainedChild,
    make_objective,
)
from latency_models import Cost


class DigestEvaluator(Evaluator):
    """Accuracy = a number made from the digest. Answers in reverse order, to show that order does not matter.

    `failures` gives failure reasons by digest; each is used up by one evaluation if `transient`.
    `stop_after` raises after so many results.
    """

    def __init__(self) -> None:
        self.failures: dict[str, FailureReason] = {}
        self.transient = False
        self.stop_after: int | None = None
        self.evaluated: list[str] = []
        self.changed: Callable[[ChildResult], ChildResult] = lambda result: result

    @property
    def key(self) -> str:
        return "0123456789abcdef"

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for done, index in enumerate(reversed(range(len(tasks)))):
            if self.stop_after is not None and done >= self.stop_after:
                raise EvaluationError("stopped on purpose")
            yield index, self.changed(self._result(tasks[index]))

    def _result(self, task: ChildTask) -> ChildResult:
        digest = task.architecture.digest
        self.evaluated.append(digest)
        failure = self.failures.pop(digest, None) if self.transient else self.failures.get(digest)
        if failure is not None:
            return ChildResult(digest=digest, failure=failure, message="on purpose")
        accuracy = int(digest[:4], 16) / 65535
        heads = len(task.network.heads) if task.network else 1
        return ChildResult(
            digest=digest,
            accuracy=accuracy,
            accuracy_no_exit=accuracy,
            exit_thresholds=(0.5,) * (heads - 1),
            exit_shares=(1 / heads,) * heads,
            train_seconds=1.5,
            worker="w1",
        )

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        raise NotSupported("a fake")


class LastFirst(ChildPool):
    """Of the children under way, the one added last ends first."""

    def __init__(self, evaluator: DigestEvaluator) -> None:
        self._evaluator = evaluator
        self.tasks: dict[int, ChildTask] = {}

    def add(self, number: int, task: ChildTask) -> None:
        assert number not in self.tasks
        self.tasks[number] = task

    def wait(self) -> list[tuple[int, ChildResult]]:
        if not self.tasks:
            return []
        if self._evaluator.stop_after is not None:
            if self._evaluator.stop_after == 0:
                raise EvaluationError("stopped on purpose")
            self._evaluator.stop_after -= 1
        number = max(self.tasks)
        return [(number, self._evaluator._result(self.tasks.pop(number)))]

    def close(self) -> None:
        self.tasks.clear()


class DigestCosting(Costing):
    """Latency 1-2 ms and energy half of it, from the digest."""

    def costs(
        self, architecture: Architecture, network: Network, exit_shares: Sequence[float] | None
    ) -> NetworkCosts | None:
        value = 1 + int(architecture.digest[4:8], 16) / 65535
        latency, energy = Cost(value, 0.1, "predicted"), Cost(value / 2, 0.1, "estimated")
        return NetworkCosts(
            latency_ms=latency,
            latency_worst_ms=latency,
            energy_mj=energy,
            energy_worst_mj=energy,
            num_params=1000,
            macs=10_000,
            size_bytes=4000,
        )


@pytest.fixture(scope="session")
def space() -> StagedSpace:
    config = StagedSpaceConfig.model_validate(
        {
            "stem_channels": 8,
            "stages": [
                {"channels": 16, "layers": 1, "stride": 1},
                {"channels": 16, "layers": 1, "stride": 2},
            ],
        }
    )
    return StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)


@pytest.fixture
def evaluator() -> DigestEvaluator:
    return DigestEvaluator()


@pytest.fixture
def costing() -> DigestCosting:
    return DigestCosting()


@pytest.fixture
def ledger_url(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger(ledger_url) as opened:
        yield opened


@pytest.fixture
def distinct(space: StagedSpace) -> Callable[[int], list[Choices]]:
    """The first n architectures of different digests of a seeded sample."""

    def sample(count: int) -> list[Choices]:
        rng = np.random.default_rng(0)
        found: dict[str, Choices] = {}
        while len(found) < count:
            choices = space.sample(rng)
            found.setdefault(space.architecture(choices).digest, choices)
        return list(found.values())

    return sample


OpenSession = Callable[..., LedgerSession]


@pytest.fixture
def open_session(
    space: StagedSpace, evaluator: DigestEvaluator, costing: DigestCosting
) -> OpenSession:
    """Open a session of the given ledger; keyword arguments replace the defaults."""

    def make(ledger: Ledger, strategy: str = "random", **changes: Any) -> LedgerSession:
        settings: dict[str, Any] = {
            "budget": 8,
            "space": space,
            "evaluator": evaluator,
            "costing": costing,
            "objective": make_objective(
                MinMaxConfig(),
                ObjectiveBounds(
                    latency_min_ms=1, latency_max_ms=2, energy_min_mj=0.5, energy_max_mj=1
                ),
            ),
            "limits": LimitsConfig(),
            "fidelity": Fidelity(name="search", epochs=2),
            "training_seed": 0,
        }
        return ledger.session("run", strategy, 0, **(settings | changes))

    return make


@pytest.fixture(scope="session")
def data() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture
def last_first(evaluator: DigestEvaluator, monkeypatch: pytest.MonkeyPatch) -> list[LastFirst]:
    """All pools that were asked for."""
    made: list[LastFirst] = []

    def pool() -> ChildPool:
        made.append(LastFirst(evaluator))
        return made[-1]

    monkeypatch.setattr(evaluator, "pool", pool)
    return made
