"""What a search can tell about itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation import Evaluation
from search.analysis import Belief, Learnt, Ranking, analyse
from search.strategies import PPOConfig, SurrogateConfig, make_strategy
from tests.search.strategy_toys import toy_bounds, toy_session, toy_space

SPACE = toy_space()
BOUNDS = toy_bounds(SPACE)


def history(reward: str, path: Path, count: int = 60) -> list[Evaluation]:
    """Random children; rewards from the first decision alone, from nothing, or all alike."""
    from dataclasses import replace

    session = toy_session(path, BOUNDS, budget=count)
    rng = np.random.default_rng(0)
    distinct: dict[str, tuple[int, ...]] = {}
    while len(distinct) < count:
        choices = SPACE.sample(rng)
        distinct.setdefault(SPACE.architecture(choices).digest, choices)
    rewards = {
        "first": lambda e: float(e.architecture.choices[0]),
        "noise": lambda e: float(rng.random()),
        "alike": lambda e: 0.5,
    }
    evaluated = session.evaluate(list(distinct.values()))
    return [replace(e, reward=rewards[reward](e)) for e in evaluated]


def test_the_decision_that_matters_is_named(tmp_path: Path) -> None:
    found = analyse("random-0", SPACE, history("first", tmp_path / "l.db"), Learnt())
    assert found.explained is not None
    assert found.explained > 0.8
    top = found.importances[0]
    assert top.decision == SPACE.decisions[0].name
    assert top.share > 0.8
    assert top.best == str(SPACE.decisions[0].choices[-1])
    assert top.gain > 0
    assert sum(each.share for each in found.importances) == pytest.approx(1)


def test_noise_is_not_explained(tmp_path: Path) -> None:
    found = analyse("random-0", SPACE, history("noise", tmp_path / "l.db"), Learnt())
    assert found.explained is not None
    assert found.explained < 0.1
    assert found.importances == ()


@pytest.mark.parametrize(("reward", "count"), [("alike", 30), ("first", 10)])
def test_too_little_says_nothing(reward: str, count: int, tmp_path: Path) -> None:
    found = analyse("random-0", SPACE, history(reward, tmp_path / "l.db", count), Learnt())
    assert found.explained is None
    assert found.importances == ()


def test_the_file_is_json(tmp_path: Path) -> None:
    learnt = Learnt((Belief("op", {"zero": 0.25, "conv": 0.75}),), (Ranking(10, 0.5),))
    found = analyse("ppo-0", SPACE, history("first", tmp_path / "l.db"), learnt)
    found.write(tmp_path / "analysis.json")
    read = json.loads((tmp_path / "analysis.json").read_text())
    assert read["learnt"]["beliefs"] == [
        {"decision": "op", "probabilities": {"zero": 0.25, "conv": 0.75}}
    ]
    assert read["learnt"]["rankings"] == [{"children": 10, "correlation": 0.5}]
    assert read["importances"][0]["decision"] == SPACE.decisions[0].name


def test_a_policy_tells_what_it_believes_and_a_surrogate_how_it_ranked(tmp_path: Path) -> None:
    configs = (
        PPOConfig(
            batch_size=4, initial=8, imagined_envs=8, imagined_steps=64, epochs=1, minibatch=32
        ),
        SurrogateConfig(batch_size=4, initial=8),
    )
    for config in configs:
        session = toy_session(tmp_path / f"{config.name}.db", BOUNDS, budget=16)
        strategy = make_strategy(config, space=SPACE, bounds=BOUNDS, seed=0)
        strategy.run(session)
        learnt = strategy.learnt(session)
        assert [each.children for each in learnt.rankings] == [8, 12, 16]
        assert all(-1 <= each.correlation <= 1 for each in learnt.rankings)
        if isinstance(config, PPOConfig):
            names = {decision.name for decision in SPACE.decisions}
            assert {belief.decision for belief in learnt.beliefs} <= names
            for belief in learnt.beliefs:
                assert sum(belief.probabilities.values()) == pytest.approx(1, abs=1e-6)
        else:
            assert learnt.beliefs == ()
