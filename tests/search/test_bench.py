"""`SearchBench` on a small table whose best rows are known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from archspace import NasBench201Space
from latency_models import ChoiceTable, TableError
from search import (
    ASYNCHRONOUS_BENCH_STRATEGIES,
    BENCH_COLUMNS,
    BENCH_STRATEGIES,
    Goal,
    SearchBench,
    SearchRecord,
    bench_rows,
)

SPACE = NasBench201Space()


def small_table(gaps: int = 0) -> ChoiceTable:
    """All cells; the last `gaps` rows lack a latency."""
    rng = np.random.default_rng(0)
    choices = np.stack(np.meshgrid(*[np.arange(5)] * 6, indexing="ij"), axis=-1).reshape(-1, 6)
    count = len(choices)
    quality = (choices == 3).sum(axis=1) + 0.4 * (choices == 2).sum(axis=1) + rng.random(count) / 9
    latency = 1 + (choices == 3).sum(axis=1) + 0.5 * (choices == 4).sum(axis=1)
    latency += 0.01 * rng.random(count)
    columns = {
        "accuracy": 70 + 4 * quality,
        "latency": latency,
        "energy": 2 * latency,
        "test": 69 + 4 * quality,
    }
    if gaps:
        columns["latency"][-gaps:] = np.nan
    return ChoiceTable(choices, columns)


@cache
def whole(goal: Goal = "accuracy") -> SearchBench:
    return SearchBench(
        space=SPACE,
        table=small_table(),
        accuracy="accuracy",
        latency="latency",
        energy="energy",
        report=("test",),
        goal=goal,
        budgets=(15, 30),
    )


def bench(**changes: object) -> SearchBench:
    return replace(whole(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("goal", ["accuracy", "weighted", "pareto"])
@pytest.mark.parametrize("strategy", BENCH_STRATEGIES)
def test_every_strategy_pays_what_it_says(strategy: str, goal: Goal) -> None:
    made = whole(goal)
    small, large = made.run(strategy, 0)
    assert (small.budget, large.budget) == (15, 30)
    assert (small.new_evaluations, large.new_evaluations) == (15, 30)
    assert 0 <= large.regret <= small.regret + 1e-12
    assert large.best == pytest.approx(made.optimum - large.regret)
    assert 0 <= (small.hypervolume or 0) <= (large.hypervolume or 0) <= 1
    assert large.report["test"] is not None
    assert large.strategy_seconds > 0


@pytest.mark.parametrize("strategy", ASYNCHRONOUS_BENCH_STRATEGIES)
def test_with_a_window_searchers_learn_while_others_are_under_way(strategy: str) -> None:
    made = bench(goal="weighted")
    *_, large = replace(made, window=6).run(strategy, 0)
    assert large.new_evaluations == 30
    *_, all_at_once = replace(made, window=30).run(strategy, 0)
    if strategy in ("ppo", "surrogate"):
        assert large.best > all_at_once.best, "nothing had come back when it proposed"
    if strategy == "random":
        assert large.best == all_at_once.best, "learns nothing, so that a window is no matter"


def test_the_best_row_is_the_one_told() -> None:
    made = bench(report=("test", "accuracy"), budgets=(100,), batch_size=25)
    (record,) = made.run("random", 0)
    assert record.best == record.report["accuracy"]
    row = np.flatnonzero(made.table.columns["accuracy"] == record.best)
    assert record.report["test"] == made.table.columns["test"][row[0]]
    assert made.optimum == made.table.columns["accuracy"].max()
    assert made._volume(np.arange(len(made.table.choices))) == made._true_volume


def test_the_optimum_of_the_weighted_objective() -> None:
    made = bench(goal="weighted")
    scaled = {
        name: (values - values.min()) / np.ptp(values)
        for name, values in made.table.columns.items()
    }
    rewards = (
        0.6 * scaled["accuracy"] + 0.3 * (1 - scaled["latency"]) + 0.1 * (1 - scaled["energy"])
    )
    assert made.optimum == pytest.approx(rewards.max())


def test_rows_with_gaps_cost_nothing_and_are_never_the_best() -> None:
    gappy = bench(table=small_table(gaps=8000), goal="weighted", budgets=(30,))
    for strategy in ("random", "surrogate", "ppo"):
        (record,) = gappy.run(strategy, 1)
        assert record.new_evaluations == 30
        assert record.regret >= 0


@pytest.mark.slow
def test_surrogates_beat_random_search() -> None:
    made = bench(goal="accuracy", budgets=(40,))
    regrets = {
        name: np.mean([next(made.run(name, seed)).regret for seed in range(3)])
        for name in ("random", "surrogate", "ppo")
    }
    assert regrets["surrogate"] < regrets["random"]
    assert regrets["ppo"] < regrets["random"]


def test_equal_seeds_give_equal_records() -> None:
    for strategy in ("ppo", "surrogate", "gp"):
        one, two = (next(bench(budgets=(20,)).run(strategy, 3)) for _ in range(2))
        assert replace(one, strategy_seconds=0.0) == replace(two, strategy_seconds=0.0)


def test_fitted_costs_are_asked_instead_of_the_tables() -> None:
    made = bench(goal="weighted", fitted_costs=True, budgets=(20,))
    known, told = bench(goal="weighted"), made
    assert known._prediction(0) is None
    prediction = told._prediction(0)
    assert prediction is not None
    batch = [tuple(row) for row in made.table.choices[:50].tolist()]
    expected = prediction.expected(SPACE, batch)
    assert np.abs(expected[:, 0] / made.table.columns["latency"][:50] - 1).mean() < 0.1
    assert next(made.run("surrogate", 0)).new_evaluations == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": ()}, "at least 1"),
        ({"budgets": (0,)}, "at least 1"),
        ({"budgets": (15_626,)}, "15625 rows"),
        ({"goal": "weighted", "energy": None}, "energy column"),
        ({"goal": "pareto", "latency": None}, "latency column"),
    ],
)
def test_what_cannot_be_run_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bench(**changes).check()


def test_a_constant_column_is_refused() -> None:
    table = small_table()
    table.columns["latency"][:] = 3.0
    with pytest.raises(TableError, match="latency is constant"):
        bench(table=table, goal="pareto").check()


def test_the_table_compares_with_the_first_strategy_seed_by_seed() -> None:
    def record(strategy: str, seed: int, regret: float) -> SearchRecord:
        return SearchRecord(
            strategy=strategy, seed=seed, budget=10, best=1 - regret, regret=regret, report={}, hypervolume=None,
            new_evaluations=10, strategy_seconds=1.0,
        )  # fmt: skip

    first = [record("ppo", seed, regret) for seed, regret in enumerate((0.1, 0.2, 0.3))]
    other = [record("local", seed, regret) for seed, regret in enumerate((0.2, 0.4, 0.6, 9.0))]
    lone = [record("random", 0, 0.5)]
    rows = {
        row[0]: row[BENCH_COLUMNS.index("first minus it, 95 %")]
        for row in bench_rows([*first, *other, *lone])
    }
    # differences -0.1, -0.2, -0.3: mean -0.2, t(2) quantile 4.303, deviation 0.1, over the root of 3
    assert rows == {"ppo": "–", "local": "-0.2 ± 0.25", "random": "–"}
