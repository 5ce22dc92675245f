"""Halving over a real ledger: exact whatever finishes first, whatever dies, and worth its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from archspace import Shape
from envs import CostBounds
from evaluation import FailureReason, Fidelity, ReplayDivergence
from search.config import SearchConfig
from search.halving_config import HalvingConfig, RungConfig, cost_of_one_in_full, rungs_of
from search.strategies import (
    RandomConfig,
    StrategyConfig,
    SurrogateConfig,
    make_strategy,
)
from search.strategies.surrogate_search import SurrogateSearch
from tests.search.halving_toys import (
    CONFIGS,
    HALVING,
    RUNGS,
    RungEvaluator,
    halving_session,
    run_halving,
    table,
)
from tests.search.strategy_toys import (
    Killed,
    tiny_space,
    toy_bounds,
    toy_session,
    toy_space,
)

BUDGET = 8.0
Table = list[tuple[object, ...]]


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.name)
def config(request: pytest.FixtureRequest) -> StrategyConfig:
    found: StrategyConfig = request.param
    return found


@pytest.fixture(scope="module")
def bounds() -> CostBounds:
    return toy_bounds(toy_space())


@pytest.fixture(scope="module")
def whole(
    config: StrategyConfig, bounds: CostBounds, tmp_path_factory: pytest.TempPathFactory
) -> Table:
    """One worker, undisturbed."""
    path = tmp_path_factory.mktemp("whole") / "ledger.db"
    return table(halving_session(config, bounds, path, budget=BUDGET).history)


def test_children_climb_and_are_paid_at_what_their_rung_costs(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    session = halving_session(config, bounds, tmp_path / "ledger.db", budget=BUDGET)
    history = session.history
    assert BUDGET - 1 < session.spent <= BUDGET
    assert session.spent == pytest.approx(sum(e.charged for e in history))
    at = [{e.architecture.digest for e in history if e.fidelity == f} for f in (*RUNGS[:-1], None)]
    assert set() < at[2] < at[1] < at[0], "who is above was below"
    assert {e.charged for e in history} == {0.125, 0.5, 1.0}
    assert [e.sequence for e in history] == list(range(len(history)))
    assert all(e.is_full == (e.charged == 1) for e in history)


@pytest.mark.parametrize(("workers", "seed"), [(2, 1), (5, 2)])
def test_the_same_for_any_number_of_workers_and_any_order_of_ending(
    config: StrategyConfig,
    bounds: CostBounds,
    whole: Table,
    tmp_path: Path,
    workers: int,
    seed: int,
) -> None:
    evaluator = RungEvaluator(workers=workers, seed=seed)
    session = halving_session(
        config, bounds, tmp_path / "ledger.db", budget=BUDGET, evaluator=evaluator
    )
    assert table(session.history) == whole


def test_another_seed_or_window_is_another_search(
    config: StrategyConfig, bounds: CostBounds, whole: Table, tmp_path: Path
) -> None:
    other = halving_session(config, bounds, tmp_path / "a.db", budget=BUDGET, seed=8)
    assert table(other.history) != whole
    narrow = HALVING.model_copy(update={"window": 1})
    other = halving_session(config, bounds, tmp_path / "b.db", budget=BUDGET, halving=narrow)
    assert table(other.history) != whole


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 6])
def test_killed_again_and_again_it_goes_on_as_if_nothing_had_happened(
    config: StrategyConfig, bounds: CostBounds, whole: Table, tmp_path: Path, step: int
) -> None:
    """Each life trains `step` more children (1: killed at every child), ending in another order each time."""
    path, trained, lives = tmp_path / "ledger.db", [], 0
    while True:
        evaluator = RungEvaluator(workers=3, seed=lives, die_after=step)
        session = toy_session(path, bounds, budget=BUDGET, evaluator=evaluator)
        try:
            run_halving(config, bounds, session)
        except Killed:
            trained += evaluator.trained
            lives += 1
            continue
        break
    trained += evaluator.trained
    assert table(session.history) == whole
    assert len(trained) == len(set(trained)) == len(whole), "something was trained twice"
    assert lives >= len(whole) // step - 1


def test_failed_and_lost_children_do_not_climb_and_resume_is_exact(
    config: StrategyConfig, bounds: CostBounds, whole: Table, tmp_path: Path
) -> None:
    space = bounds.space
    first = [space.architecture(row[1]).digest for row in whole[:6]]  # type: ignore[arg-type]
    lost = frozenset(first[2:4])

    def evaluator(**settings: int) -> RungEvaluator:
        return RungEvaluator(workers=3, fail_every=3, lost=lost, **settings)

    undisturbed = halving_session(
        config, bounds, tmp_path / "whole.db", budget=BUDGET, evaluator=evaluator()
    )
    history = undisturbed.history
    bad = {e.architecture.digest for e in history if not e.ok}
    assert lost <= bad
    assert len(bad) > 2
    assert all(e.fidelity == RUNGS[0] for e in history if e.architecture.digest in bad)
    free = [e for e in history if e.charged == 0]
    assert {e.architecture.digest for e in free} == lost
    assert all(e.result and e.result.failure is FailureReason.LOST for e in free)
    path = tmp_path / "killed.db"
    for death in (3, 4, 9):
        session = toy_session(
            path, bounds, budget=BUDGET, evaluator=evaluator(seed=death, die_after=death)
        )
        with pytest.raises(Killed):
            run_halving(config, bounds, session)
    session = toy_session(path, bounds, budget=BUDGET, evaluator=evaluator(seed=9))
    run_halving(config, bounds, session)
    assert table(session.history) == table(history)


def test_a_larger_budget_afterwards_is_as_good_as_one_from_the_start(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    whole = halving_session(config, bounds, tmp_path / "whole.db", budget=BUDGET + 6)
    for budget in (BUDGET, BUDGET + 1, BUDGET + 6):
        grown = halving_session(config, bounds, tmp_path / "grown.db", budget=budget)
    assert table(grown.history) == table(whole.history)


def test_other_rungs_than_the_logs_are_a_divergence(bounds: CostBounds, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    halving_session(RandomConfig(), bounds, path, budget=4)
    other = HALVING.model_copy(update={"rungs": (RungConfig(data_fraction=0.3, cost=0.2),)})
    with pytest.raises(ReplayDivergence, match=r"proposal 0: .* at .*data0.25.* at .*data0.3"):
        halving_session(RandomConfig(), bounds, path, budget=4, halving=other)


def test_at_barriers_nothing_is_under_way_and_resume_meets_them_again(
    bounds: CostBounds, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    seen: list[tuple[int, int, int]] = []
    tables = []
    for life in range(3):
        evaluator = RungEvaluator(workers=4, seed=life, die_after=8 if life < 2 else None)
        session = toy_session(path, bounds, budget=BUDGET, evaluator=evaluator)
        seen.clear()
        session.set_barriers(
            7, lambda count, s=session: seen.append((count, s.under_way, len(s.history)))
        )
        try:
            run_halving(RandomConfig(), bounds, session)
        except Killed:
            continue
        tables.append(table(session.history))
    count = len(tables[0])
    assert seen == [(n, 0, n) for n in range(7, count + 1, 7)]
    session = toy_session(tmp_path / "other.db", bounds, budget=BUDGET, evaluator=RungEvaluator())
    session.set_barriers(7, lambda count: None)
    run_halving(RandomConfig(), bounds, session)
    assert table(session.history) == tables[0]


def test_ends_by_itself_when_there_is_nothing_new(config: StrategyConfig, tmp_path: Path) -> None:
    bounds = toy_bounds(tiny_space())
    size = bounds.space.size().distinct_high
    session = halving_session(config, bounds, tmp_path / "ledger.db", budget=10 * size)
    digests = {e.architecture.digest for e in session.history}
    assert size - 1 <= len(digests) <= size
    full = [e for e in session.history if e.is_full]
    assert len(full) >= size // 4 - 1, "those that were promising climbed before the end"


@pytest.mark.slow
def test_finds_better_networks_than_full_training_at_equal_budget(tmp_path: Path) -> None:
    bounds = toy_bounds(toy_space(stages=3))
    halving = HalvingConfig(
        rungs=(RungConfig(data_fraction=0.04, cost=0.04), RungConfig(data_fraction=0.2, cost=0.2)),
        reduction=4,
        window=4,
    )
    gains = []
    for seed in range(4):
        path = tmp_path / f"halved-{seed}.db"
        halved = halving_session(
            RandomConfig(), bounds, path, budget=10, halving=halving, seed=seed
        )
        plain = toy_session(tmp_path / f"plain-{seed}.db", bounds, budget=10)
        strategy = make_strategy(RandomConfig(), space=bounds.space, bounds=bounds, seed=seed)
        strategy.run(plain)
        best = max(e.accuracy for e in halved.history if e.is_full)
        gains.append(best - max(e.accuracy for e in plain.history))
    assert sum(gains) / len(gains) > 0.02, gains


def test_the_best_that_is_to_be_improved_on_was_trained_in_full(
    bounds: CostBounds, tmp_path: Path
) -> None:
    config = SurrogateConfig(batch_size=3, initial=8, random_candidates=64, mutants=64)
    session = toy_session(tmp_path / "ledger.db", bounds, budget=BUDGET, evaluator=RungEvaluator())
    strategy = run_halving(config, bounds, session)
    assert isinstance(strategy, SurrogateSearch)
    full = [e for e in session.history if e.is_full]
    cheap = replace(full[0], fidelity=RUNGS[0], result=replace(full[0].result, accuracy=0.999))  # type: ignore[type-var]
    utility = strategy._utility(session, [cheap, *full])
    best = max(full, key=lambda e: e.reward)
    assert best.costs is not None
    costs = np.array([[best.costs.latency_ms.value, best.costs.energy_mj.value]])
    assert utility(np.array([best.accuracy]), costs)[0] == pytest.approx(0, abs=1e-9)
    assert utility(np.array([best.accuracy + 0.01]), costs)[0] > 0


def test_costs_follow_from_what_a_rung_trains() -> None:
    config = HalvingConfig(
        rungs=(
            RungConfig(epochs=2, data_fraction=0.5, resolution=16),
            RungConfig(epochs=4),
            RungConfig(data_fraction=0.75, cost=0.9),
        )
    )
    full = Fidelity(name="search", epochs=8)
    rungs = rungs_of(config, full, Shape(3, 32, 32))
    assert [rung.cost for rung in rungs] == [0.25 * 0.5 * 0.25, 0.5, 0.9, 1.0]
    assert [rung.name for rung in rungs] == [
        "epochs2-data0.5-16px", "epochs4", "epochs8-data0.75", "search",
    ]  # fmt: skip
    assert rungs[-1] is full


def test_what_one_child_in_full_takes() -> None:
    """By hand: of 9 at the lowest rung 3 climb, and of these 1."""
    config = HalvingConfig(rungs=(RungConfig(epochs=1), RungConfig(epochs=2)), reduction=3)
    rungs = rungs_of(config, Fidelity(name="search", epochs=8))
    assert cost_of_one_in_full(config, rungs) == pytest.approx(9 / 8 + 3 * 2 / 8 + 1)


@pytest.mark.parametrize(
    ("rungs", "message"),
    [
        ([{"epochs": 9}], "9 epochs are more than"),
        ([{"epochs": 8}], "each must cost more"),
        ([{"epochs": 4}, {"epochs": 2}], "each must cost more"),
        ([{"epochs": 2, "cost": 0.1}, {"epochs": 2, "cost": 0.2}], "two are the same"),
    ],
)
def test_rungs_that_make_no_ladder_are_refused(rungs: list[dict[str, float]], message: str) -> None:
    config = HalvingConfig.model_validate({"rungs": rungs})
    with pytest.raises(ValueError, match=message):
        rungs_of(config, Fidelity(name="search", epochs=8), Shape(3, 32, 32))


def test_strategies_that_cannot_do_it_are_refused() -> None:
    halving = {"rungs": [{"epochs": 1}]}
    SearchConfig.model_validate({"halving": halving})  # ppo beside random
    for strategy in ("gp", "evolution", "ppo-plain", "tpe"):
        with pytest.raises(
            ValidationError, match=f"{strategy} learns from children trained in full"
        ):
            SearchConfig.model_validate({"halving": halving, "strategy": {"name": strategy}})
    with pytest.raises(ValidationError, match="cannot have goal front"):
        SearchConfig.model_validate(
            {"halving": halving, "strategy": {"name": "surrogate", "goal": "front"}}
        )
    for wrong in ({"rungs": []}, {"rungs": [{"data_fraction": 0}]}, {**halving, "reduction": 1}):
        with pytest.raises(ValidationError):
            SearchConfig.model_validate({"halving": wrong})
