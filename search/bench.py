"""Searchers beside each other on a table where every architecture's results are known.

Each (strategy, seed) has a ledger of its own and runs once, with the largest budget; what it had found at the smaller
budgets is read from its proposals in order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archspace import SearchSpace
from envs import CostBounds
from evaluation import (
    Evaluation,
    Fidelity,
    Ledger,
    LimitsConfig,
    MinMaxConfig,
    Objective,
    ObjectiveBounds,
    TableCosting,
    TableEvaluator,
    make_objective,
)
from latency_models import ChoiceTable, MeasuredTable, TableError
from search.bench_costs import FittedCosts
from search.bench_strategies import bench_config
from search.pareto import hypervolume_2d
from search.strategies import make_strategy
from search.strategy import BatchStrategy
from search.windowed_search import WindowedSearch

Goal = Literal["accuracy", "weighted", "pareto"]
Floats = NDArray[np.float64]

ACCURACY_FLOOR = 0.85
"""Accuracy (share) from which hypervolumes count: over the whole range they saturate."""
_WEIGHTS = {"accuracy": (1.0, 0.0, 0.0), "weighted": (0.6, 0.3, 0.1), "pareto": (0.5, 0.5, 0.0)}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRecord:
    """What one searcher had found when it had paid for `budget` new evaluations.

    Attributes:
        best: the objective's value of the best architecture found: for `accuracy` in the column's own unit, for
            `pareto` the hypervolume.
        regret: the table's best value minus `best`.
        report: other columns of the best (for `pareto` the most accurate) architecture; None where there is a gap.
        hypervolume: of accuracy and latency, as a share of the true front's; None without a latency column, or where no
            row beats the reference point.
        new_evaluations: architectures paid for.
        strategy_seconds: the searcher's own time, evaluations not counted; of its whole run, in proportion.
    """

    strategy: str
    seed: int
    budget: int
    best: float
    regret: float
    report: Mapping[str, float | None]
    hypervolume: float | None
    new_evaluations: int
    strategy_seconds: float


@dataclass(frozen=True, kw_only=True)
class SearchBench:
    """What is searched, and how it is judged.

    A row with a gap in a column that is used is unavailable, and asking for it costs nothing.

    Attributes:
        space: whose architectures the table holds.
        table: accuracies in percent or as shares, latencies in ms, energies in mJ.
        accuracy, latency, energy: columns; those of costs may be None where the goal does without.
        report: further columns, told of the best architecture; no searcher sees them.
        goal: ``accuracy``; ``weighted``: 0.6 · accuracy + 0.3 · latency + 0.1 · energy, each scaled to 0-1 over the
            available rows, costs inverted; ``pareto``: the hypervolume of accuracy and latency.
        budgets: numbers of new evaluations.
        batch_size: architectures evaluated at once; with a window, proposed at once.
        window: architectures under way at a time, as in an asynchronous search (of `ASYNCHRONOUS` strategies); None: whole batches.
        fitted_costs: searchers are told costs by a model of 100 rows, not by the table.
    """

    space: SearchSpace
    table: ChoiceTable
    accuracy: str
    latency: str | None = None
    energy: str | None = None
    report: Sequence[str] = ()
    goal: Goal = "accuracy"
    budgets: Sequence[int] = (50, 100, 200, 500)
    batch_size: int = 5
    window: int | None = None
    fitted_costs: bool = False

    def check(self) -> None:
        """Refuse what cannot be run, before anything is. Raises ValueError; TableError is one."""
        if not self.budgets or min(self.budgets) < 1 or self.batch_size < 1:
            raise ValueError("expected budgets and a batch of at least 1")
        if self.goal == "weighted" and not (self.latency and self.energy):
            raise ValueError("the weighted objective needs a latency and an energy column")
        if (self.goal == "pareto" or self.fitted_costs) and not self.latency:
            raise ValueError("this needs a latency column")
        count = int(self._available.sum())
        if count < max(self.budgets):
            raise TableError(
                f"a budget of {max(self.budgets)} new evaluations, but {count} rows of the table have a number in "
                "every column that is used; ask for less"
            )
        for column in self._used:
            values = self.table.columns[column][self._available]
            if float(np.ptp(values)) == 0:
                raise TableError(f"column {column} is constant: there is nothing to search for")

    @property
    def _used(self) -> tuple[str, ...]:
        """Columns that the goal needs."""
        costs = (self.latency, self.energy) if self.goal != "accuracy" else ()
        return (self.accuracy, *(column for column in costs if column))

    @cached_property
    def _available(self) -> NDArray[np.bool_]:
        gaps = [np.isnan(self.table.columns[column]) for column in self._used]
        return np.asarray(~np.logical_or.reduce(gaps))

    @cached_property
    def _scale(self) -> float:
        """100 where accuracies are percent."""
        return 100.0 if np.nanmax(self.table.columns[self.accuracy]) > 1 else 1.0

    @property
    def unit(self) -> Literal["percent", "share"]:
        """Of accuracies."""
        return "percent" if self._scale == 100 else "share"

    @cached_property
    def measured(self) -> MeasuredTable:
        """The columns by label."""
        labels = [self.space.architecture(row).label for row in self.table.choices.tolist()]
        names = {*self._used, *self.report, *filter(None, [self.latency])}
        return MeasuredTable(
            {
                name: {
                    label: float(value)
                    for label, value in zip(labels, self.table.columns[name], strict=True)
                    if not np.isnan(value)
                }
                for name in sorted(names)
            }
        )

    def _column(self, name: str | None) -> Floats:
        """Of the available rows."""
        return self.table.columns[name][self._available] if name else np.ones(self._available.sum())

    @cached_property
    def objective(self) -> Objective:
        """What searchers are rewarded for; its scales are those of the available rows."""
        accuracies = self._column(self.accuracy) / self._scale
        floors = {
            "accuracy": (0.0, 1.0),
            "weighted": (float(accuracies.min()), float(accuracies.max())),
            "pareto": (ACCURACY_FLOOR, 1.0),
        }
        floor, ceiling = floors[self.goal]
        weights = dict(
            zip(
                ("accuracy_weight", "latency_weight", "energy_weight"),
                _WEIGHTS[self.goal],
                strict=True,
            )
        )
        config = MinMaxConfig(accuracy_floor=floor, accuracy_ceiling=ceiling, **weights)
        if self.goal == "accuracy":
            return make_objective(config, None)
        latency, energy = self._column(self.latency), self._column(self.energy or self.latency)
        bounds = ObjectiveBounds(
            latency_min_ms=float(latency.min()),
            latency_max_ms=float(latency.max()),
            energy_min_mj=float(energy.min()),
            energy_max_mj=float(energy.max()),
        )
        return make_objective(config, bounds)

    @cached_property
    def optimum(self) -> float:
        """The best value that any available row has."""
        if self.goal == "pareto":
            return 1.0
        accuracies = self._column(self.accuracy)
        if self.goal == "accuracy":
            return float(accuracies.max())
        columns = accuracies / self._scale, self._column(self.latency), self._column(self.energy)
        return float(self.objective.rewards(*columns, 0).max())

    @cached_property
    def _true_volume(self) -> float:
        """Hypervolume of all rows that have an accuracy and a latency."""
        return self._volume(np.arange(len(self.table.choices)))

    def _volume(self, rows: NDArray[np.intp]) -> float:
        assert self.latency is not None
        latencies = self.table.columns[self.latency]
        reference = (ACCURACY_FLOOR, float(np.nanmax(latencies[self._available])))
        accuracies = self.table.columns[self.accuracy] / self._scale
        points = np.stack([accuracies[rows], latencies[rows]], axis=1)
        return hypervolume_2d(map(tuple, points[~np.isnan(points).any(axis=1)]), reference)

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], int]:
        return {tuple(row): i for i, row in enumerate(self.table.choices.tolist())}

    def run(
        self, strategy: str, seed: int, changes: Mapping[str, Any] | None = None
    ) -> Iterator[SearchRecord]:
        """One searcher; a record a budget, the smallest first.

        Args:
            strategy: one of `BENCH_STRATEGIES`.
            seed: of the searcher.
            changes: settings of its config that differ from the bench's.
        """
        largest = max(self.budgets)
        bounds = CostBounds(self.space, None, LimitsConfig())
        costly = self.goal != "accuracy"
        latency = self.latency if costly else None
        with Ledger("sqlite://") as ledger:
            session = ledger.session(
                "bench",
                strategy,
                seed,
                budget=largest,
                space=self.space,
                evaluator=TableEvaluator(self.measured, self.accuracy, unit=self.unit),
                costing=TableCosting(
                    self.measured, latency, (self.energy or latency) if costly else None
                ),
                objective=self.objective,
                limits=bounds.limits,
                fidelity=Fidelity(name="table", epochs=1),
                training_seed=0,
                prediction=self._prediction(seed),
                by_arrival=self.window is not None,
            )
            config = bench_config(strategy, self.batch_size, front=self.goal == "pareto")
            searcher = make_strategy(
                type(config).model_validate({**config.model_dump(), **(changes or {})}),
                space=self.space,
                bounds=bounds,
                seed=seed,
                objective=self.objective,
            )
            started = time.perf_counter()
            if self.window is None:
                searcher.run(session)
            else:
                assert isinstance(searcher, BatchStrategy), "one of ASYNCHRONOUS"
                WindowedSearch(searcher, self.window).run(session)
            seconds = time.perf_counter() - started - session.seconds
            history = session.history
        for budget in sorted(self.budgets):
            own_seconds = seconds * budget / max(largest, 1)
            yield self._record(strategy, seed, budget, _paid(history, budget), own_seconds)

    def _prediction(self, seed: int) -> FittedCosts | None:
        if not self.fitted_costs or self.goal == "accuracy":
            return None
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(self._available))
        columns = [self.table.columns[name] for name in (self.latency, self.energy) if name]
        return FittedCosts.of(self.space, self.table.choices, columns, rows)

    def _record(
        self, strategy: str, seed: int, budget: int, found: Sequence[Evaluation], seconds: float
    ) -> SearchRecord:
        scored = [evaluation for evaluation in found if evaluation.ok]
        rows = np.array([self._rows[e.architecture.choices] for e in scored], dtype=np.intp)
        volume = None
        if self.latency and self._true_volume:
            volume = float(self._volume(rows) / self._true_volume)
        top = max(
            scored, key=(lambda e: e.accuracy) if self.goal == "pareto" else (lambda e: e.reward)
        )
        best = {
            "accuracy": top.accuracy * self._scale,
            "weighted": top.reward,
            "pareto": volume or 0.0,
        }[self.goal]
        row = self._rows[top.architecture.choices]
        values = {name: float(self.table.columns[name][row]) for name in self.report}
        return SearchRecord(
            strategy=strategy,
            seed=seed,
            budget=budget,
            best=best,
            regret=self.optimum - best,
            report={name: None if np.isnan(value) else value for name, value in values.items()},
            hypervolume=volume,
            new_evaluations=round(sum(e.charged for e in found)),
            strategy_seconds=seconds,
        )


def _paid(history: Sequence[Evaluation], budget: int) -> list[Evaluation]:
    """The proposals that the first `budget` new evaluations paid for."""
    found, spent = [], 0.0
    for evaluation in history:
        if spent + evaluation.charged > budget:
            break
        spent += evaluation.charged
        found.append(evaluation)
    return found
