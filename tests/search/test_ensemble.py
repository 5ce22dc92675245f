"""The ensemble beyond one Gaussian process: what its members are, what they have not seen, what a pick shrinks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archspace import NasBench201Space
from search.strategies import SurrogateConfig, make_strategy
from search.surrogates import (
    AccuracySurrogate,
    ArchitectureFeatures,
    Ensemble,
    Hyperparameters,
    Learner,
    Posterior,
)
from tests.search.strategy_toys import toy_bounds, toy_session, toy_space

RNG = np.random.default_rng(0)
X, X_NEW = RNG.normal(size=(160, 3)), RNG.normal(size=(60, 3))
Y = np.sin(X).sum(axis=1) + 0.3 * (X[:, 0] > 0.5)
ALL = 10**9


def ensemble(y: np.ndarray = Y, x: np.ndarray = X, seed: int = 0) -> Ensemble:
    """With fixed hyperparameters."""
    learner = Learner(0)
    learner.hyperparameters = Hyperparameters({"x": np.log(0.5)}, np.log(1.7), np.log(0.03))
    learner.learnt_at = ALL
    return Ensemble({"x": x}, y, learner=learner, seed=seed)


def predicted(x: np.ndarray = X_NEW, seed: int = 0) -> Posterior:
    return ensemble(seed=seed).predict({"x": x})


def test_mean_and_variance_are_those_of_its_members() -> None:
    model = ensemble()
    members = [
        part.process.predict({"x": X_NEW}).mean + tree.predict(X_NEW.astype(np.float32))
        for part in model._parts
        for tree in part._forest.estimators_
    ]
    found = model.predict({"x": X_NEW})
    assert len(members) == 48
    np.testing.assert_allclose(found.mean, np.mean(members, axis=0))
    np.testing.assert_allclose(found.variance, np.var(members, axis=0))


@pytest.mark.parametrize("i", [0, 77])
def test_left_out_predictions_do_not_know_the_datum(i: int) -> None:
    changed = Y.copy()
    changed[i] += 5
    before, after = ensemble().left_out(), ensemble(changed).left_out()
    assert before[0][i] == after[0][i]
    assert before[1][i] == after[1][i]
    others = np.arange(len(Y)) != i
    assert (before[0][others] != after[0][others]).any()


def test_left_out_predictions_are_not_rosier_than_new_ones() -> None:
    """They come from fewer members, so they are somewhat worse."""
    truth = np.sin(X_NEW).sum(axis=1) + 0.3 * (X_NEW[:, 0] > 0.5)
    left_out = np.abs(ensemble().left_out()[0] - Y).mean()
    assert 0.9 < left_out / np.abs(predicted().mean - truth).mean() < 3


def test_what_every_member_saw_counts_as_average() -> None:
    model = ensemble(Y[:9], X[:9])
    for part in model._parts:
        part.left_out[:, 3] = np.nan
    mean, std = model.left_out()
    assert mean[3] == 0
    assert std[3] == pytest.approx(np.sqrt(0.03 + 1e-6))


def test_seeds_repeat() -> None:
    np.testing.assert_array_equal(predicted().mean, predicted().mean)
    assert (predicted().mean != predicted(seed=1).mean).any()


def test_taking_shrinks_what_the_trees_hold_for_alike_and_nothing_else() -> None:
    twin, far = X_NEW[0] + 1e-9, np.array([40.0, 40.0, 40.0])
    points = predicted(np.vstack([X_NEW[0], twin, far, X_NEW[1:]]))
    before = points.variance.copy()
    points.take(0)
    noise = 0.03 + 1e-6
    expected = before[0] * noise / (before[0] + noise)  # of a Gaussian variable measured with noise
    assert points.variance[0] == pytest.approx(expected, rel=1e-6)
    assert points.variance[1] == pytest.approx(expected, rel=1e-4)
    assert (points.variance <= before).all()
    assert points.variance[2] > 0.99 * before[2]


def test_the_covariance_is_one() -> None:
    points = predicted()
    covariance = np.array([points._covariance_with(i) for i in range(len(X_NEW))])
    np.testing.assert_allclose(np.diag(covariance), points.variance)
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_learns_what_one_process_would_be_too_slow_for() -> None:
    space = NasBench201Space()
    rng = np.random.default_rng(2)
    sample = [space.sample(rng) for _ in range(300)]
    log_macs = ArchitectureFeatures(space)(sample)["sizes"][:, 0]
    truth = 0.6 + 0.1 * log_macs / np.abs(log_macs).max() + 0.01 * rng.random(300)
    surrogate = AccuracySurrogate(space, most_for_one_process=100)
    surrogate.fit(sample[:200], truth[:200])
    assert isinstance(surrogate._model, Ensemble)
    assert surrogate.rank_correlation() > 0.9
    mean = surrogate.accuracies(surrogate.predict(sample[200:]).mean)
    assert np.corrcoef(mean, truth[200:])[0, 1] > 0.9
    surrogate.fit(sample[:100], truth[:100])
    assert not isinstance(surrogate._model, Ensemble)


def test_a_search_goes_on_with_it(tmp_path: Path) -> None:
    config = SurrogateConfig(
        batch_size=4, initial=8, random_candidates=32, most_for_one_process=8, least_correlation=-1
    )
    bounds = toy_bounds(toy_space())
    session = toy_session(tmp_path / "ledger.db", bounds, budget=20)
    strategy = make_strategy(config, space=bounds.space, bounds=bounds, seed=1)
    strategy.run(session)
    assert session.spent == 20
    assert [r.children for r in strategy.learnt(session).rankings] == [8, 12, 16, 20]
