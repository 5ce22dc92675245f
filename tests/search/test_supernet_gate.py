"""Halving with a rung of shared weights: used where they foretell, left out where not, and exact either way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from envs import CostBounds
from evaluation import ChildResult, ChildTask, LedgerSession
from search.analysis import Learnt
from search.halving import HalvingSearch
from search.halving_config import HalvingConfig, SupernetRungConfig, rungs_of
from search.strategies import RandomConfig, StrategyConfig, make_strategy
from search.strategy import BatchStrategy
from tests.search.halving_toys import CONFIGS, HALVING, RUNGS, RungEvaluator, table
from tests.search.strategy_toys import (
    Killed,
    tiny_space,
    toy_accuracy,
    toy_bounds,
    toy_session,
    toy_space,
)

each_strategy = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)


@pytest.fixture(scope="module")
def bounds() -> CostBounds:
    return toy_bounds(toy_space())


GATED = HALVING.model_copy(
    update={"supernet": SupernetRungConfig(cost=0.02, probes=6, reduction=4, least_correlation=0.5)}
)


class SupernetEvaluator(RungEvaluator):
    """With shared weights accuracies are a third of those in full; `foretells` them or not."""

    def __init__(self, *, foretells: bool = True, workers: int = 1, seed: int = 0, die_after: int | None = None) -> None:  # fmt: skip
        super().__init__(workers=workers, seed=seed, die_after=die_after)
        self._foretells = foretells

    def result(self, task: ChildTask) -> ChildResult:
        found = super().result(task)
        if not task.fidelity.supernet or task.network is None:
            return found
        accuracy = toy_accuracy(task.network)
        return replace(found, accuracy=(accuracy if self._foretells else 1 - accuracy) / 3)


def gated(
    config: StrategyConfig, bounds: CostBounds, path: Path, evaluator: SupernetEvaluator
) -> tuple[LedgerSession, Learnt]:
    session = toy_session(path, bounds, budget=14.0, evaluator=evaluator)
    strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=7)
    assert isinstance(strategy, BatchStrategy)
    search = HalvingSearch(strategy, GATED, rungs_of(GATED, session.fidelity, supernet="abc"))
    search.run(session)
    return session, search.learnt(session)


@each_strategy
def test_shared_weights_that_foretell_are_the_rung_where_children_begin(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    session, learnt = gated(config, bounds, tmp_path / "a.db", SupernetEvaluator())
    assert learnt.supernet is not None
    assert learnt.supernet.used
    assert learnt.supernet.children == 6
    assert learnt.supernet.spearman == pytest.approx(1, abs=0.15)
    history = session.history
    first = [e.architecture.digest for e in history if e.fidelity is not None][:6]
    assert {e.architecture.digest for e in history if e.is_full} >= set(first)
    # nobody is trained who was not looked at with shared weights first, and then few (who climbs early may be overtaken later)
    shared = {e.architecture.digest for e in history if e.fidelity and e.fidelity.supernet}
    trained = {e.architecture.digest for e in history if not (e.fidelity and e.fidelity.supernet)}
    assert trained < shared
    assert len(trained) - 6 <= len(shared) / 2


@each_strategy
def test_shared_weights_that_foretell_nothing_are_left_out(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    session, learnt = gated(config, bounds, tmp_path / "a.db", SupernetEvaluator(foretells=False))
    assert learnt.supernet is not None
    assert not learnt.supernet.used
    assert "left out" in learnt.supernet.text
    names = [e.fidelity.name if e.fidelity else "full" for e in session.history]
    assert names.count("supernet") == 6
    assert len(names) > 20


def test_shared_weights_that_tell_all_networks_alike_are_left_out(
    bounds: CostBounds, tmp_path: Path
) -> None:
    class Equal(SupernetEvaluator):
        def result(self, task: ChildTask) -> ChildResult:
            found = super().result(task)
            return replace(found, accuracy=0.1) if task.fidelity.supernet else found

    _, learnt = gated(RandomConfig(batch_size=4), bounds, tmp_path / "a.db", Equal())
    assert learnt.supernet is not None
    assert learnt.supernet.spearman is None
    assert not learnt.supernet.used
    assert "rank correlation unknown with 6 children" in learnt.supernet.text


@each_strategy
def test_a_search_with_shared_weights_is_the_same_for_any_workers_and_kills(
    config: StrategyConfig, bounds: CostBounds, tmp_path: Path
) -> None:
    whole, _ = gated(config, bounds, tmp_path / "whole.db", SupernetEvaluator())
    many, _ = gated(config, bounds, tmp_path / "many.db", SupernetEvaluator(workers=4, seed=3))
    assert table(many.history) == table(whole.history)
    path = tmp_path / "killed.db"
    for die_after in (3, 12, 9):
        with pytest.raises(Killed):
            gated(config, bounds, path, SupernetEvaluator(die_after=die_after))
    ended, learnt = gated(config, bounds, path, SupernetEvaluator())
    assert table(ended.history) == table(whole.history)
    assert learnt.supernet is not None


def test_the_ladder_reads_shared_accuracies_by_what_they_mean_in_full(
    bounds: CostBounds, tmp_path: Path
) -> None:
    """Else the cheapest network would climb: a third of the accuracy is outweighed by costs."""
    session, _ = gated(RandomConfig(batch_size=4), bounds, tmp_path / "a.db", SupernetEvaluator())
    climbed = {e.architecture.digest for e in session.history if e.fidelity == RUNGS[0]}
    shared = [e for e in session.history if e.fidelity and e.fidelity.supernet]
    above = [e.accuracy for e in shared if e.architecture.digest in climbed]
    assert np.mean(above) > 1.3 * np.mean([e.accuracy for e in shared])


@each_strategy
def test_a_space_with_fewer_networks_than_are_to_be_judged_ends_the_search(
    config: StrategyConfig, tmp_path: Path
) -> None:
    bounds = toy_bounds(tiny_space())
    probes = bounds.space.size().distinct_high + 1
    halving = HALVING.model_copy(update={"supernet": SupernetRungConfig(probes=max(5, probes))})
    session = toy_session(tmp_path / "a.db", bounds, budget=90.0, evaluator=SupernetEvaluator())
    strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=7)
    assert isinstance(strategy, BatchStrategy)
    search = HalvingSearch(strategy, halving, rungs_of(halving, session.fidelity))
    search.run(session)
    assert search.learnt(session).supernet is None
    digests = {e.architecture.digest for e in session.history if e.is_full}
    assert len(digests) == bounds.space.size().distinct_high


def test_halving_needs_a_rung() -> None:
    with pytest.raises(ValidationError, match="at least one"):
        HalvingConfig()
    assert len(rungs_of(HalvingConfig(supernet=SupernetRungConfig()), RUNGS[-1])) == 2
