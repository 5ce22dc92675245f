"""What the policy of an ended search builds within limits."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from envs import CostBounds
from evaluation import ChildResult, ChildTask, Evaluation, FailureReason, LimitsConfig
from latency_models import PrefixCosts
from search import suggested
from search.config import ScheduleConfig, SearchConfig
from search.parts import RunParts
from search.strategies import PPOConfig, RandomConfig, make_strategy
from search.strategies.ppo import PPOSearch
from search.suggested import TRAINED, best_suggestion
from tests.search.strategy_toys import (
    ToyCostModel,
    ToyEvaluator,
    toy_bounds,
    toy_ledger_settings,
    toy_session,
    toy_space,
)

SPACE = toy_space(3, 2)
BOUNDS = toy_bounds(SPACE)
CONFIG = PPOConfig(
    batch_size=8, initial=8, imagined_envs=16, imagined_steps=256, random_candidates=32
)
BUDGET = 32
LIMITS = LimitsConfig(latency_ms=0.2)


def latency_ms(choices: tuple[int, ...]) -> float:
    return ToyCostModel().predict([SPACE.resolve(choices)])[0].latency_ms[-1].value


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole search with its checkpoints."""
    path = tmp_path_factory.mktemp("run")
    session = toy_session(path / "ledger.db", BOUNDS, budget=BUDGET, strategy="ppo")
    _strategy(path, BOUNDS).run(session)
    assert session.spent == BUDGET
    return path


def _strategy(path: Path, bounds: CostBounds) -> PPOSearch:
    folder = path / "checkpoints" / "ppo-0"
    made = make_strategy(CONFIG, space=SPACE, bounds=bounds, seed=0, checkpoint_dir=folder)
    assert isinstance(made, PPOSearch)
    return made


def _history(path: Path) -> list[Evaluation]:
    session = toy_session(path / "ledger.db", BOUNDS, budget=BUDGET, strategy="ppo")
    session.start_at(session.logged)
    return session.history


def test_suggestions_are_new_and_hold_the_limit_the_most_certain_first(run_dir: Path) -> None:
    session = toy_session(run_dir / "ledger.db", BOUNDS, budget=BUDGET, strategy="ppo")
    found = _strategy(run_dir, BOUNDS).suggest(session, _history(run_dir), (0.2, np.inf))
    assert len(found) > 5
    assert all(latency_ms(each.choices) <= 0.2 for each in found)
    known = {e.architecture.choices for e in _history(run_dir)}
    assert known.isdisjoint(each.choices for each in found)
    careful = [each.careful for each in found]
    assert careful == sorted(careful, reverse=True)
    assert all(each.careful <= each.expected for each in found)
    again = toy_session(run_dir / "ledger.db", BOUNDS, budget=BUDGET, strategy="ppo")
    assert _strategy(run_dir, BOUNDS).suggest(again, _history(run_dir), (0.2, np.inf)) == found


def _parts(run_dir: Path, evaluator: ToyEvaluator, strategy: Any = CONFIG) -> RunParts:
    ledger, settings = toy_ledger_settings(run_dir / "ledger.db", BOUNDS, evaluator=evaluator)
    values = SimpleNamespace(
        **settings,
        name="toy",
        seed=0,
        run_dir=run_dir,
        ledger=ledger,
        bounds=BOUNDS,
        dataset=object(),
        search=SearchConfig(budget=BUDGET, strategy=strategy, controls=()),
        schedule=ScheduleConfig(search_epochs=1),
        on_phase=lambda phase: None,
        resolve=SPACE.resolve,
    )
    return cast(RunParts, values)


@pytest.fixture
def measured_as_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(parts: RunParts, front: list[Evaluation]) -> dict[str, PrefixCosts]:
        networks = [SPACE.resolve(e.architecture.choices) for e in front]
        costs = ToyCostModel().predict(networks)
        return {e.architecture.digest: c for e, c in zip(front, costs, strict=True)}

    monkeypatch.setattr(suggested, "measure_front", measure)


@pytest.mark.usefixtures("measured_as_predicted")
def test_a_suggestion_is_believed_once_trained(run_dir: Path) -> None:
    history, evaluator = _history(run_dir), ToyEvaluator()
    parts = _parts(run_dir, evaluator)
    found = best_suggestion(parts, LIMITS, history, better_than=0.0)
    assert found is not None
    assert 1 <= len(evaluator.evaluated) <= TRAINED
    assert found.architecture.digest in evaluator.evaluated
    assert found.architecture.digest not in {e.architecture.digest for e in history}
    assert _history(run_dir) == history, "the search's own account is not touched"
    assert latency_ms(found.architecture.choices) <= 0.2
    idle = ToyEvaluator()
    assert best_suggestion(_parts(run_dir, idle), LIMITS, history, better_than=0.0) == found
    assert idle.evaluated == [], "what was trained once is read back"


@pytest.mark.usefixtures("measured_as_predicted")
def test_nothing_is_trained_where_nothing_promises_more(run_dir: Path) -> None:
    evaluator = ToyEvaluator()
    parts = _parts(run_dir, evaluator)
    assert best_suggestion(parts, LIMITS, _history(run_dir), better_than=0.9999) is None
    assert evaluator.evaluated == []


@pytest.mark.usefixtures("measured_as_predicted")
def test_failed_suggestions_are_no_answer(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    evaluator = ToyEvaluator(fail_every=1)
    parts = _parts(copy, evaluator)
    with parts.ledger, caplog.at_level(logging.WARNING):
        tight = LimitsConfig(latency_ms=0.25)
        assert best_suggestion(parts, tight, _history(copy), better_than=0.0) is None
    assert evaluator.evaluated
    assert "NONFINITE" in caplog.text


def test_searches_without_a_policy_suggest_nothing(run_dir: Path) -> None:
    parts = _parts(run_dir, ToyEvaluator(), RandomConfig())
    assert best_suggestion(parts, LIMITS, _history(run_dir), better_than=0.0) is None


def test_without_a_checkpoint_there_is_no_policy_to_ask(run_dir: Path, tmp_path: Path) -> None:
    session = toy_session(run_dir / "ledger.db", BOUNDS, budget=BUDGET, strategy="ppo")
    assert _strategy(tmp_path, BOUNDS).suggest(session, _history(run_dir), (0.2, np.inf)) == []


class LosingEvaluator(ToyEvaluator):
    """Loses every child's worker."""

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, task in enumerate(tasks):
            digest = task.architecture.digest
            self.evaluated.append(digest)
            yield index, ChildResult(digest=digest, failure=FailureReason.LOST, message="gone")


@pytest.mark.usefixtures("measured_as_predicted")
def test_a_lost_suggestion_is_trained_again_the_next_time(run_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "copy")
    limits, losing = LimitsConfig(latency_ms=0.24), LosingEvaluator()
    assert best_suggestion(_parts(copy, losing), limits, _history(copy), better_than=0.0) is None
    assert losing.evaluated
    working = ToyEvaluator()
    found = best_suggestion(_parts(copy, working), limits, _history(copy), better_than=0.0)
    assert working.evaluated == losing.evaluated
    assert found is not None
