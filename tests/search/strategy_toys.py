"""A small searchable world that needs no training: exact, quick, deterministic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import (
    Block,
    Choices,
    Network,
    SearchSpace,
    Shape,
    StageConfig,
    StagedSpace,
    StagedSpaceConfig,
)
from child_models import count_macs
from envs import CostBounds
from evaluation import (
    ChildResult,
    ChildTask,
    Evaluator,
    FailureReason,
    Fidelity,
    Ledger,
    LedgerSession,
    LimitsConfig,
    MinMaxConfig,
    ModelCosting,
    ObjectiveBounds,
    TrainedChild,
    make_objective,
)
from latency_models import Cost, CostModel, PrefixCosts

FIDELITY = Fidelity(name="search", epochs=1)
OVERHEAD_MS = 0.1


def toy_space(stages: int = 2, layers: int = 1, *, exits: bool = True) -> StagedSpace:
    """`stages` × `layers` layers over 8×8 images; 2 × 1 gives some hundred networks."""
    config = StagedSpaceConfig(
        stem_channels=8,
        stages=tuple(StageConfig(channels=32, layers=layers) for _ in range(stages)),
        early_exits=exits,
    )
    return StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=4)


def tiny_space() -> StagedSpace:
    """A dozen networks."""
    config = StagedSpaceConfig(
        stem_channels=8,
        stages=(StageConfig(channels=16, layers=1),),
        operations=("conv_k3", "identity", "zero"),
        keep_ratios=(0.5, 1.0),
    )
    return StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=4)


class ToyCostModel(CostModel):
    """Exactly additive: 1 ms and 2 mJ a million MACs, plus 0.01 of each a block; no exit saves anything."""

    version = 1

    def predict(self, networks: Sequence[Network]) -> list[PrefixCosts]:
        return [self._costs(network) for network in networks]

    def _costs(self, network: Network) -> PrefixCosts:
        latency = self.additive_overhead_ms + sum(map(self.block_latency_ms, network.blocks))
        energy = sum(map(self.block_energy_mj, network.blocks))
        heads = len(network.heads)
        return PrefixCosts(
            (Cost(latency, 0.0, "predicted"),) * heads, (Cost(energy, 0.0, "predicted"),) * heads
        )

    def block_latency_ms(self, block: Block) -> float:
        return 0.01 + count_macs(block.as_network()) / 1e6

    def block_energy_mj(self, block: Block) -> float:
        return 0.01 + 2 * count_macs(block.as_network()) / 1e6

    @property
    def latency_margin(self) -> float:
        return 0.0

    @property
    def additive_overhead_ms(self) -> float:
        return OVERHEAD_MS


def utility(block: Block) -> float:
    """A fixed random number in [0, 1) for each sort of block: operation, skip connection and width."""
    convs = [layer for layer in block.layers if layer.op == "conv"]
    has_skip = any(layer.op == "add" for layer in block.layers)
    sort = f"{[(c.kernel, c.groups > 1, c.out_channels) for c in convs]} {has_skip}"
    return int.from_bytes(hashlib.sha256(sort.encode()).digest()[:4], "big") / 2**32


def toy_accuracy(network: Network) -> float:
    """Σ utility of the blocks / 8, squared so that few networks are good; in [0, 1)."""
    return min(sum(map(utility, network.blocks)) / 8, 0.999) ** 2


class Killed(BaseException):
    """Stands for ``kill -9``: nothing may catch it."""


class ToyEvaluator(Evaluator):
    """Looks accuracies up in `toy_accuracy`; every `fail_every`-th digest fails; dies at `die_after` results."""

    def __init__(self, *, fail_every: int = 0, die_after: int | None = None) -> None:
        self.evaluated: list[str] = []
        self.batches: list[int] = []
        self._fail_every = fail_every
        self._die_after = die_after

    @property
    def key(self) -> str:
        return "0123456789abcdef"

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        self.batches.append(len(tasks))
        for index, task in enumerate(tasks):
            if self._die_after is not None and len(self.evaluated) >= self._die_after:
                raise Killed
            digest = task.architecture.digest
            self.evaluated.append(digest)
            assert task.network is not None
            if self._fail_every and int(digest[:8], 16) % self._fail_every == 0:
                failure = FailureReason.NONFINITE
                yield index, ChildResult(digest=digest, failure=failure, message="toy")
            else:
                accuracy = toy_accuracy(task.network)
                heads = len(task.network.heads)
                yield (
                    index,
                    ChildResult(
                        digest=digest,
                        accuracy=accuracy,
                        accuracy_no_exit=accuracy,
                        exit_thresholds=(0.5,) * (heads - 1),
                        exit_shares=(1 / heads,) * heads,
                    ),
                )

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        raise AssertionError("no strategy trains finals")


class WrongCosts:
    """What searchers are told of costs before they propose: the toy costs, off by what is chosen first and last."""

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> NDArray[np.float64]:
        right = ModelCosting(ToyCostModel()).expected(space, batch)
        wrong = [[1 + 0.1 * choices[0], 1 + 0.2 * choices[-1]] for choices in batch]
        return np.asarray(right * np.array(wrong))


def toy_bounds(space: StagedSpace, **limits: float) -> CostBounds:
    """Bounds under the toy cost model."""
    return CostBounds(space, ToyCostModel(), LimitsConfig(**limits))


def toy_session(
    path: Path,
    bounds: CostBounds,
    *,
    budget: float,
    strategy: str = "toy",
    seed: int = 0,
    evaluator: Evaluator | None = None,
    latency_weight: float = 0.0,
    wrong_costs: bool = False,
    by_arrival: bool = False,
) -> LedgerSession:
    """A real session over a real SQLite file; opening the same file again replays it.

    With `wrong_costs` the searcher is told `WrongCosts` before it proposes.
    """
    ledger, settings = toy_ledger_settings(
        path, bounds, evaluator=evaluator, latency_weight=latency_weight
    )
    prediction = WrongCosts() if wrong_costs else None
    return ledger.session(
        "toy",
        strategy,
        seed,
        budget=budget,
        fidelity=FIDELITY,
        prediction=prediction,
        by_arrival=by_arrival,
        **settings,
    )


def toy_ledger_settings(
    path: Path,
    bounds: CostBounds,
    *,
    evaluator: Evaluator | None = None,
    latency_weight: float = 0.0,
) -> tuple[Ledger, dict[str, Any]]:
    """A ledger over the file, and what its sessions are opened with."""
    objective = make_objective(
        MinMaxConfig(accuracy_weight=1.0, latency_weight=latency_weight, energy_weight=0.0),
        ObjectiveBounds(
            latency_min_ms=OVERHEAD_MS, latency_max_ms=1.0, energy_min_mj=0.1, energy_max_mj=1.0
        ),
    )
    settings = {
        "space": bounds.space,
        "evaluator": evaluator or ToyEvaluator(),
        "costing": ModelCosting(ToyCostModel()),
        "objective": objective,
        "limits": bounds.limits,
        "training_seed": 0,
    }
    return Ledger(f"sqlite:///{path}"), settings
