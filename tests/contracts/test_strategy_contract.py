"""What every strategy promises, whatever it does inside."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from archspace import StagedSpace
from envs import CostBounds
from evaluation import BudgetExhausted, Evaluation, Fidelity, LedgerSession
from search.config import HALVING_STRATEGIES, SearchConfig
from search.strategies import (
    EvolutionConfig,
    GPConfig,
    KeepScheduleConfig,
    LocalSearchConfig,
    NSGA2Config,
    ParEGOConfig,
    PlainPPOConfig,
    PPOConfig,
    RandomConfig,
    ReinforceConfig,
    StrategyConfig,
    SurrogateConfig,
    TPEConfig,
    make_strategy,
)
from search.strategy import BatchStrategy, Strategy
from tests.search.strategy_toys import (
    Killed,
    ToyEvaluator,
    tiny_space,
    toy_bounds,
    toy_session,
    toy_space,
)

CONFIGS: tuple[StrategyConfig, ...] = (
    PPOConfig(batch_size=4, initial=8, imagined_envs=8, imagined_steps=64, epochs=1, minibatch=32),
    SurrogateConfig(batch_size=4, initial=8),
    GPConfig(batch_size=4, initial=8),
    ParEGOConfig(batch_size=4, initial=8),
    ReinforceConfig(batch_size=4),
    PlainPPOConfig(num_envs=4, epochs=2),
    RandomConfig(batch_size=4),
    EvolutionConfig(population=6, tournament=3, batch_size=3),
    LocalSearchConfig(initial_samples=3, batch_size=3),
    TPEConfig(startup=4, batch_size=3),
    NSGA2Config(population=4, batch_size=3),
)
BUDGET = 13
each_strategy = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)


@pytest.fixture(scope="module")
def space() -> StagedSpace:
    return toy_space()


@pytest.fixture(scope="module")
def bounds(space: StagedSpace) -> CostBounds:
    return toy_bounds(space)


def strategy_for(
    config: StrategyConfig, bounds: CostBounds, seed: int = 7, checkpoints: Path | None = None
) -> Strategy:
    return make_strategy(
        config, space=bounds.space, bounds=bounds, seed=seed, checkpoint_dir=checkpoints
    )


def table(history: Sequence[Evaluation]) -> list[tuple[object, ...]]:
    return [
        (e.sequence, e.architecture.choices, e.reward, e.charged, e.is_new, e.rejected)
        for e in history
    ]


def searched(
    config: StrategyConfig, bounds: CostBounds, path: Path, *, seed: int = 7, budget: float = BUDGET
) -> LedgerSession:
    session = toy_session(path, bounds, budget=budget)
    strategy_for(config, bounds, seed).run(session)
    return session


@pytest.fixture(scope="module")
def finished(bounds: CostBounds, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    """One search by each strategy, and what it left of the process's random numbers."""
    folder = tmp_path_factory.mktemp("finished")
    return {config.name: Finished(config, bounds, folder / config.name) for config in CONFIGS}


class Finished:
    """A search that ran to its end."""

    def __init__(self, config: StrategyConfig, bounds: CostBounds, path: Path) -> None:
        self.evaluator = ToyEvaluator()
        self.session = toy_session(path, bounds, budget=BUDGET, evaluator=self.evaluator)
        strategy = strategy_for(config, bounds)  # imports what it needs
        seed_globals(1)
        strategy.run(self.session)
        self.drawn_after = draw_globals()

    @property
    def history(self) -> list[Evaluation]:
        return self.session.history


def seed_globals(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def draw_globals() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(1).item()


@each_strategy
def test_spends_its_budget_exactly(config: StrategyConfig, finished: dict[str, Finished]) -> None:
    session = finished[config.name].session
    assert session.spent == BUDGET
    assert len({e.architecture.digest for e in session.history}) == BUDGET
    assert [e.sequence for e in session.history] == list(range(len(session.history)))
    with pytest.raises(BudgetExhausted):
        session.evaluate([session.history[0].architecture.choices])


@each_strategy
def test_equal_seeds_give_equal_logs_and_others_do_not(
    config: StrategyConfig, bounds: CostBounds, finished: dict[str, Finished], tmp_path: Path
) -> None:
    first = table(finished[config.name].history)
    seed_globals(99)
    assert table(searched(config, bounds, tmp_path / "again.db").history) == first
    assert table(searched(config, bounds, tmp_path / "other.db", seed=8).history) != first


@each_strategy
def test_leaves_the_global_random_states_alone(
    config: StrategyConfig, finished: dict[str, Finished]
) -> None:
    seed_globals(1)
    assert finished[config.name].drawn_after == draw_globals()


@each_strategy
def test_sends_batches_so_that_several_workers_have_something_to_do(
    config: StrategyConfig, finished: dict[str, Finished]
) -> None:
    assert np.mean(finished[config.name].evaluator.batches) >= 2


@each_strategy
def test_a_killed_search_goes_on_as_if_nothing_had_happened(
    config: StrategyConfig, bounds: CostBounds, finished: dict[str, Finished], tmp_path: Path
) -> None:
    whole = table(finished[config.name].history)
    path = tmp_path / "killed.db"
    trained: list[str] = []
    for death in (0, 6, 11):
        evaluator = ToyEvaluator(die_after=death - len(trained))
        session = toy_session(path, bounds, budget=BUDGET, evaluator=evaluator)
        with pytest.raises(Killed):
            strategy_for(config, bounds).run(session)
        trained += evaluator.evaluated
    evaluator = ToyEvaluator()
    session = toy_session(path, bounds, budget=BUDGET, evaluator=evaluator)
    strategy_for(config, bounds).run(session)
    assert table(session.history) == whole
    assert len(trained + evaluator.evaluated) == BUDGET, "something was paid for twice"


@each_strategy
@pytest.mark.parametrize("keeps", [False, True], ids=["replayed", "checkpoints"])
def test_a_larger_budget_afterwards_is_as_good_as_one_from_the_start(
    config: StrategyConfig, keeps: bool, bounds: CostBounds, tmp_path: Path
) -> None:
    """Unless a setting follows the budget: then `follows_budget` says so."""
    if isinstance(config, PlainPPOConfig):
        assert SearchConfig(strategy=config).follows_budget == ["ppo-plain.entropy_end"]
        config = config.model_copy(update={"entropy_end": config.entropy})
    controls = (PPOConfig(),) if isinstance(config, RandomConfig) else (RandomConfig(),)
    assert SearchConfig(strategy=config, controls=controls).follows_budget == []
    whole = table(searched(config, bounds, tmp_path / "whole.db", budget=BUDGET + 10).history)
    checkpoints = tmp_path / "checkpoints" if keeps else None
    for budget in (BUDGET, BUDGET + 1, BUDGET + 10):
        session = toy_session(tmp_path / "grown.db", bounds, budget=budget)
        strategy_for(config, bounds, checkpoints=checkpoints).run(session)
        assert session.spent == budget
    assert table(session.history) == whole


def test_settings_that_follow_the_budget_are_named() -> None:
    schedule = KeepScheduleConfig()
    search = SearchConfig(
        strategy=PPOConfig(keep_schedule=schedule),
        controls=(PlainPPOConfig(learning_rate_end=1e-4, keep_schedule=schedule),),
    )
    assert search.follows_budget == [
        "ppo.keep_schedule",
        "ppo-plain.learning_rate_end",
        "ppo-plain.entropy_end",
        "ppo-plain.keep_schedule",
    ]


@each_strategy
def test_proposes_batches_without_evaluating_if_halving_may_ask_it(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    if not isinstance(config, HALVING_STRATEGIES):
        return
    batches = []
    for life in range(2):
        session = toy_session(tmp_path / f"{life}.db", bounds, budget=BUDGET)
        strategy = strategy_for(config, bounds)
        assert isinstance(strategy, BatchStrategy)
        strategy.use_rungs((Fidelity(name="low", epochs=1, cost=0.1), session.fidelity))
        seed_globals(life)
        strategy.start(session)
        seed_globals(1)
        batches.append([strategy.propose(session) for _ in range(3)])
        assert draw_globals() == (seed_globals(1), draw_globals())[1]
        assert session.logged == 0
    assert batches[0] == batches[1]
    digests = [bounds.space.architecture(c).digest for batch in batches[0] for c in batch]
    assert len(set(digests)) == len(digests) >= 3, "each is new, evaluated or not"


@each_strategy
def test_proposes_only_what_the_masks_allow(
    config: StrategyConfig, space: StagedSpace, tmp_path: Path
) -> None:
    limit = median_latency(space)
    bounds = toy_bounds(space, latency_ms=limit)
    session = searched(config, bounds, tmp_path / "ledger.db")
    assert session.spent == BUDGET
    for evaluation in session.history:
        assert not evaluation.rejected, "the additive model is exact here: nothing may be rejected"
        assert evaluation.costs is not None
        assert evaluation.costs.latency_worst_ms.value <= limit + 1e-9


def median_latency(space: StagedSpace) -> float:
    bounds = toy_bounds(space, latency_ms=1.0)
    rng = np.random.default_rng(0)
    return float(np.median([bounds.bound(bounds.terms[0], space.sample(rng)) for _ in range(200)]))


@each_strategy
def test_ends_by_itself_when_there_is_nothing_new(config: StrategyConfig, tmp_path: Path) -> None:
    if isinstance(config, PlainPPOConfig):  # a thousand free proposals, sooner
        config = PlainPPOConfig(num_envs=50, epochs=1)
    space = tiny_space()
    size = space.size().distinct_high
    session = searched(config, toy_bounds(space), tmp_path / "ledger.db", budget=size + 50)
    assert size - 1 <= session.spent <= size


@each_strategy
def test_goes_on_after_failed_children(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    session = toy_session(
        tmp_path / "ledger.db", bounds, budget=BUDGET, evaluator=ToyEvaluator(fail_every=2)
    )
    strategy_for(config, bounds).run(session)
    assert session.spent == BUDGET
    assert 0 < sum(e.ok for e in session.history) < len(session.history)
