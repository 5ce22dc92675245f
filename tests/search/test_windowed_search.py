"""Asynchronous search over a real ledger: whoever ends first counts first, and whatever dies, the log is repeated."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from envs import CostBounds
from evaluation import LedgerSession
from search.config import SearchConfig
from search.halving import HalvingSearch
from search.halving_config import rungs_of
from search.strategies import EvolutionConfig, PPOConfig, StrategyConfig, make_strategy
from search.strategies.ppo import PPOSearch
from search.strategy import BatchStrategy
from search.windowed_search import WindowedSearch
from tests.search.halving_toys import CONFIGS, HALVING, RungEvaluator, table
from tests.search.strategy_toys import (
    Killed,
    tiny_space,
    toy_bounds,
    toy_session,
    toy_space,
)

BUDGET, WINDOW = 24, 5
ASYNCHRONOUS: tuple[StrategyConfig, ...] = (*CONFIGS, EvolutionConfig(population=6, tournament=3))
each_strategy = pytest.mark.parametrize("config", ASYNCHRONOUS, ids=lambda config: config.name)


@pytest.fixture(scope="module")
def bounds() -> CostBounds:
    return toy_bounds(toy_space())


def search(
    config: StrategyConfig,
    bounds: CostBounds,
    path: Path,
    evaluator: RungEvaluator,
    *,
    halving: bool = False,
    budget: float = BUDGET,
) -> LedgerSession:
    """An asynchronous search, to its end."""
    session = toy_session(path, bounds, budget=budget, evaluator=evaluator, by_arrival=True)
    strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=7)
    assert isinstance(strategy, BatchStrategy)
    if halving:
        rungs = rungs_of(HALVING, session.fidelity)
        HalvingSearch(strategy, HALVING, rungs, WINDOW).run(session)
    else:
        WindowedSearch(strategy, WINDOW).run(session)
    return session


@each_strategy
def test_learns_from_results_as_they_come(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    session = search(config, bounds, tmp_path / "a.db", RungEvaluator(workers=4, seed=1))
    history = session.history
    assert session.spent == BUDGET
    assert [e.arrival for e in history] == list(range(len(history)))
    assert sorted(e.sequence for e in history) == list(range(len(history)))
    assert [e.sequence for e in history] != list(range(len(history)))
    # one is proposed when another came back: never more than the window are under way
    assert all(e.sequence <= e.arrival + WINDOW for e in history if e.arrival is not None)
    other = search(config, bounds, tmp_path / "b.db", RungEvaluator(workers=4, seed=2))
    assert table(other.history) != table(history), "who ends first decides what is proposed"


@pytest.mark.parametrize(
    ("config", "halving"),
    [
        *((config, False) for config in ASYNCHRONOUS),
        *((config, True) for config in CONFIGS),
    ],
    ids=lambda value: "halving" if value is True else "" if value is False else value.name,
)
def test_killed_again_and_again_nothing_is_trained_twice_and_the_order_stays(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path, halving: bool
) -> None:
    path, budget = tmp_path / "ledger.db", 8 if halving else BUDGET
    trained: list[tuple[str, str]] = []
    before: list[tuple[object, ...]] = []
    for life in range(100):
        evaluator = RungEvaluator(workers=3, seed=life, die_after=5)
        session = toy_session(path, bounds, budget=budget, evaluator=evaluator, by_arrival=True)
        strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=7)
        assert isinstance(strategy, BatchStrategy)
        rungs = rungs_of(HALVING, session.fidelity)
        searcher = (
            HalvingSearch(strategy, HALVING, rungs, WINDOW)
            if halving
            else WindowedSearch(strategy, WINDOW)
        )
        with contextlib.suppress(Killed):
            searcher.run(session)
        trained += evaluator.trained
        now = table(session.history)
        assert now[: len(before)] == before, (
            "what had been learnt in one life is learnt in the next"
        )
        if not evaluator.trained:
            break
        before = now
    assert life >= 3
    assert now == before
    assert len(trained) == len(set(trained)) == len(now), "something was trained twice"
    assert budget - 1 < session.spent <= budget


def test_a_larger_budget_goes_on_with_what_there_is(bounds: CostBounds, tmp_path: Path) -> None:
    path, config = tmp_path / "ledger.db", CONFIGS[1]
    first = search(config, bounds, path, RungEvaluator(workers=4, seed=1), budget=12)
    evaluator = RungEvaluator(workers=4, seed=2)
    grown = search(config, bounds, path, evaluator, budget=BUDGET)
    assert table(grown.history)[:12] == table(first.history)
    assert grown.spent == BUDGET
    assert len(evaluator.trained) == BUDGET - 12


def test_barriers_drain_and_come_again(bounds: CostBounds, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for life in range(3):
        evaluator = RungEvaluator(workers=4, seed=life, die_after=8 if life == 0 else None)
        session = toy_session(
            tmp_path / "a.db", bounds, budget=BUDGET, evaluator=evaluator, by_arrival=True
        )
        seen.clear()
        session.set_barriers(7, lambda count, s=session: seen.append((count, s.under_way)))
        strategy = make_strategy(CONFIGS[0], space=bounds.space, bounds=bounds, seed=7)
        assert isinstance(strategy, BatchStrategy)
        try:
            WindowedSearch(strategy, WINDOW).run(session)
        except Killed:
            continue
        assert seen == [(n, 0) for n in range(7, BUDGET + 1, 7)]


@each_strategy
def test_ends_by_itself_when_there_is_nothing_new(config: StrategyConfig, tmp_path: Path) -> None:
    bounds = toy_bounds(tiny_space())
    size = bounds.space.size().distinct_high
    evaluator = RungEvaluator(workers=4, seed=1)
    session = search(config, bounds, tmp_path / "a.db", evaluator, budget=10 * size)
    assert size - 1 <= len({e.architecture.digest for e in session.history}) <= size


def test_ppo_never_waits_for_a_batch_of_its_own(bounds: CostBounds, tmp_path: Path) -> None:
    """Where its surrogate never validates, the policy would evaluate batches itself."""
    ppo = CONFIGS[2]
    assert isinstance(ppo, PPOConfig)
    config = ppo.model_copy(update={"least_correlation": 1.0})
    session = toy_session(
        tmp_path / "a.db",
        bounds,
        budget=BUDGET,
        evaluator=RungEvaluator(workers=3),
        by_arrival=True,
    )
    most = 0
    strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=7)
    assert isinstance(strategy, PPOSearch)
    propose = strategy.propose

    def counted(asked: LedgerSession) -> list[tuple[int, ...]]:
        nonlocal most
        found = propose(asked)
        most = max(most, asked.under_way)
        return found

    strategy.propose = counted  # type: ignore[method-assign]
    WindowedSearch(strategy, WINDOW).run(session)
    assert session.spent == BUDGET
    assert most == WINDOW - 1


def test_strategies_that_cannot_do_it_are_refused() -> None:
    asynchronous = {"window": 4}
    assert SearchConfig.model_validate({"asynchronous": asynchronous}).window == 4
    halving = {"rungs": [{"epochs": 1}], "window": 9}
    both = SearchConfig.model_validate({"asynchronous": asynchronous, "halving": halving})
    assert both.window == 4
    assert SearchConfig.model_validate({"halving": halving}).window == 9
    assert SearchConfig().window is None
    for strategy in ("gp", "local", "ppo-plain", "tpe"):
        with pytest.raises(ValidationError, match=f"{strategy} evaluates its proposals batch"):
            SearchConfig.model_validate(
                {"asynchronous": asynchronous, "strategy": {"name": strategy}}
            )
