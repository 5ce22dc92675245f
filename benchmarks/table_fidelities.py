"""Training cheaply first against training every child in full, on a table that has accuracies of both.

    python benchmarks/table_fidelities.py TABLE --accuracy c10_val_200 --cheap c10_val_12 --cheap-cost 0.06 [--objective weighted
        --latency COLUMN --energy COLUMN] [--strategy ppo] [--seeds 20] [--first-seed 0] [--budget 100]

The same strategy with the same seeds and budget searches twice: each child in full, and with halving over one cheap rung. Both
pay through the ledger. Prints regret (of the best child trained in full) when so much of the budget is paid, paired differences with
95 % intervals, and how much either had paid when its mean regret first was as low as it was in full at a quarter, half and all of the budget.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fidelities import Curve, mean_curve
from numpy.typing import NDArray
from scipy import stats
from table_bench import table_bench

from envs import CostBounds
from evaluation import (
    ChildResult,
    ChildTask,
    Evaluation,
    Evaluator,
    Fidelity,
    Ledger,
    LedgerSession,
    LimitsConfig,
    NotSupported,
    TableCosting,
    TableEvaluator,
    TrainedChild,
)
from search import SearchBench
from search.bench_strategies import bench_config
from search.halving import HalvingSearch
from search.halving_config import HalvingConfig, RungConfig, rungs_of
from search.strategies import make_strategy
from search.strategy import BatchStrategy

Floats = NDArray[np.float64]
FULL = Fidelity(name="table", epochs=100)
LEVELS = (0.25, 0.5, 1.0)
"""Shares of the budget whose mean regret in full is looked for in the other curve."""
MARKS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Shares of the budget at which regrets are printed."""


class TwoColumns(Evaluator):
    """Accuracies of the cheap column for children of a reduced fidelity."""

    needs_network = False

    def __init__(self, full: TableEvaluator, cheap: TableEvaluator) -> None:
        self._full, self._cheap = full, cheap

    @property
    def key(self) -> str:
        return self._full.key[:8] + self._cheap.key[:8]

    def missing(self, architecture: Any) -> str:
        return self._full.missing(architecture) or self._cheap.missing(architecture)

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, task in enumerate(tasks):
            source = self._full if task.fidelity.name == FULL.name else self._cheap
            for _, result in source.evaluate([task]):
                yield index, result

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        raise NotSupported("a table trains nothing")


def searched(options: argparse.Namespace, with_halving: bool, seed: int) -> Curve:
    """One search; its curve has no seconds, and its best is the regret's negative."""
    torch.set_num_threads(1)
    bench = _bench(options)
    with Ledger("sqlite://") as ledger:
        session = _session(options, bench, ledger, seed)
        strategy = make_strategy(
            bench_config(options.strategy, options.batch, front=False),
            space=bench.space,
            bounds=CostBounds(bench.space, None, LimitsConfig()),
            seed=seed,
            objective=bench.objective,
        )
        if with_halving:
            assert isinstance(strategy, BatchStrategy)
            rung = RungConfig(epochs=1, cost=options.cheap_cost)
            halving = HalvingConfig(
                rungs=(rung,), reduction=options.reduction, window=options.batch
            )
            HalvingSearch(strategy, halving, rungs_of(halving, FULL)).run(session)
        else:
            strategy.run(session)
        return _curve(bench, session.history)


def _session(
    options: argparse.Namespace, bench: SearchBench, ledger: Ledger, seed: int
) -> LedgerSession:
    full, cheap = (
        TableEvaluator(bench.measured, column, unit=bench.unit)
        for column in (options.accuracy, options.cheap)
    )
    costs = (options.latency, options.energy) if options.objective != "accuracy" else (None, None)
    return ledger.session(
        "bench",
        options.strategy,
        seed,
        budget=options.budget,
        space=bench.space,
        evaluator=TwoColumns(full, cheap),
        costing=TableCosting(bench.measured, *costs),
        objective=bench.objective,
        limits=LimitsConfig(),
        fidelity=FULL,
        training_seed=0,
    )


def _curve(bench: SearchBench, history: Sequence[Evaluation]) -> Curve:
    paid, best = 0.0, float("-inf")
    curve: Curve = []
    for evaluation in history:
        paid += evaluation.charged
        if evaluation.ok and evaluation.is_full and evaluation.reward > best:
            best = evaluation.reward
            in_percent = bench.goal == "accuracy" and bench.unit == "percent"
            value = evaluation.accuracy * 100 if in_percent else best
            curve.append((0.0, paid, value - bench.optimum))
    return curve


def _bench(options: argparse.Namespace) -> SearchBench:
    return table_bench(options, (options.budget,), report=(options.cheap,))


def at(curve: Curve, paid: float) -> float:
    """Regret when `paid` was paid; NaN before the first child in full."""
    return -next((best for _, then, best in reversed(curve) if then <= paid + 1e-9), float("nan"))


def print_tables(found: Mapping[bool, Sequence[Curve]], budget: float) -> None:
    print("  paid  in full              with halving         halving minus in full, 95 %")
    for share in MARKS:
        full, halved = (
            np.array([at(curve, share * budget) for curve in found[way]]) for way in (False, True)
        )
        known = (halved - full)[~np.isnan(halved - full)]
        half = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5
        print(
            f"{share * budget:6.1f}  {np.nanmean(full):8.4f} ± {np.nanstd(full, ddof=1):8.4f}  "
            f"{np.nanmean(halved):8.4f} ± {np.nanstd(halved, ddof=1):8.4f}  {known.mean():+.4f} ± {half:.4f}"
        )
    full, halved = (mean_curve(list(found[way]), 1) for way in (False, True))
    for share in LEVELS:
        level = [best for paid, best in full if paid <= share * budget + 1e-9][-1]
        first, other = (
            next((paid for paid, best in curve if best >= level - 1e-12), float("inf"))
            for curve in (full, halved)
        )
        print(
            f"mean regret {-level:.4f}: in full after {first:.1f}, with halving after {other:.1f}: {first / other:.2f} × less paid"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--accuracy", required=True, help="column of children trained in full")
    parser.add_argument("--cheap", required=True, help="column of children trained cheaply")
    parser.add_argument("--cheap-cost", type=float, required=True, help="in children in full")
    parser.add_argument("--objective", choices=("accuracy", "weighted"), default="accuracy")
    parser.add_argument("--latency")
    parser.add_argument("--energy")
    parser.add_argument("--strategy", choices=("ppo", "surrogate", "random"), default="ppo")
    parser.add_argument("--reduction", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=5, help="and, with halving, the window")
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    _bench(options)  # wrong input is told here, not by a worker
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool:
        found = {
            way: list(pool.map(partial(searched, options, way), seeds)) for way in (False, True)
        }
    print_tables(found, options.budget)


if __name__ == "__main__":
    main()
