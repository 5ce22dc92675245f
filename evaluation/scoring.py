"""How a session's proposals are evaluated and judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture, Choices, Network, SearchSpace
from evaluation.costing import Costing, ExpectedCosts
from evaluation.evaluator import Evaluator, child_seed, task_key
from evaluation.limits import LimitsConfig, violation
from evaluation.objectives import Objective
from evaluation.results import (
    ChildResult,
    ChildTask,
    FailureReason,
    Fidelity,
    NetworkCosts,
)


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a session's proposals are evaluated and judged; the same for its whole life.

    `prediction` is what the searcher may ask about costs before it proposes, where that is not `costing`.
    """

    space: SearchSpace
    evaluator: Evaluator
    costing: Costing
    objective: Objective
    limits: LimitsConfig
    fidelity: Fidelity
    training_seed: int
    replicate: int = 0
    prediction: ExpectedCosts | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What a resumed session must agree on, as text by name."""
        fidelity = self.fidelity
        return {
            "space": self.space.digest,
            "evaluator": self.evaluator.key,
            "objective": self.objective.settings,
            "limits": self.limits.model_dump_json(),
            "fidelity": f"{fidelity.name}, {fidelity.epochs} epochs{fidelity.reductions}, cost {fidelity.cost:g}",
            "training seed": str(self.training_seed),
            "replicate": str(self.replicate),
        }

    def task(self, architecture: Architecture, reduced: Fidelity | None = None) -> ChildTask:
        """What the evaluator is to do, at the session's own fidelity or at a reduced one."""
        fidelity = reduced or self.fidelity
        return ChildTask(
            architecture=architecture,
            network=self.network(architecture) if self.evaluator.needs_network else None,
            fidelity=fidelity,
            replicate=self.replicate,
            seed=child_seed(self.training_seed, architecture.digest, fidelity, self.replicate),
        )

    def key(self, task: ChildTask) -> str:
        """Under what the shared cache keeps the result."""
        return task_key(self.evaluator.key, task)

    def network(self, architecture: Architecture) -> Network:
        """The resolved network."""
        return self._resolve(architecture.choices)

    @cached_property
    def _resolve(self) -> Callable[[Choices], Network]:
        return lru_cache(maxsize=256)(self.space.resolve)

    def costs(
        self, architecture: Architecture, exit_shares: tuple[float, ...] | None
    ) -> NetworkCosts | None:
        """Costs with the given shares of samples leaving at each head; None: predicted shares."""
        return self.costing.costs(architecture, self.network(architecture), exit_shares)

    def expected_costs(self, batch: Sequence[Choices]) -> NDArray[np.float64]:
        """Latency in ms and energy in mJ, as far as they are known before training; see `Costing.expected`."""
        return (self.prediction or self.costing).expected(self.space, batch)

    def refusal(self, architecture: Architecture, costs: NetworkCosts | None) -> str:
        """Why a network is not evaluated: the limit it breaks, or that it is not in the table; else ""."""
        if costs is not None and (broken := violation(costs, self.limits)):
            return broken
        if costs is None and (self.objective.needs_costs or self.limits.any):
            return "its costs are unknown"
        return self.evaluator.missing(architecture)

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


def is_lost(result: ChildResult | None) -> bool:
    return result is not None and result.failure is not None and result.failure.is_infrastructure


def without_effort(result: ChildResult) -> ChildResult:
    """The result as a repeat gets it: nobody trained for it."""
    return replace(result, train_seconds=0.0, worker="")


def checked_result(result: ChildResult) -> ChildResult:
    """`result`, or a failure if its numbers are not shares: such numbers must not reach a searcher."""
    if result.failure is not None:
        return replace(result, accuracy=None, accuracy_no_exit=None)
    no_exit = result.accuracy if result.accuracy_no_exit is None else result.accuracy_no_exit
    shares = (result.accuracy, no_exit, *result.exit_shares, *result.exit_thresholds)
    if all(share is not None and 0 <= share <= 1 for share in shares):
        return result
    return ChildResult(
        digest=result.digest,
        failure=FailureReason.NONFINITE,
        message=f"accuracies, shares and thresholds must lie in [0, 1], got {shares}",
        train_seconds=result.train_seconds if math.isfinite(result.train_seconds) else 0.0,
        worker=result.worker,
    )
