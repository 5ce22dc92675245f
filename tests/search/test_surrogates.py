"""Surrogates of accuracy: the Gaussian process against closed forms and scikit-learn, features, transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from archspace import NasBench201Space
from child_models import count_macs
from search.surrogates import (
    AccuracySurrogate,
    ArchitectureFeatures,
    GaussianProcess,
    Hyperparameters,
)
from search.surrogates.accuracy import GapTransform
from search.surrogates.features import path_counts
from tests.search.strategy_toys import toy_space

RNG = np.random.default_rng(0)
X, X_NEW = RNG.normal(size=(12, 3)), RNG.normal(size=(5, 3))
Y = np.sin(X).sum(axis=1)
GIVEN = Hyperparameters({"x": np.log(0.5)}, np.log(1.7), np.log(0.03))
JITTER = 1e-6


def process(x: np.ndarray = X, y: np.ndarray = Y) -> GaussianProcess:
    return GaussianProcess({"x": x}, y, hyperparameters=GIVEN, optimise=False)


def test_posterior_is_that_of_scikit_learn() -> None:
    kernel = ConstantKernel(1.7, "fixed") * Matern(np.sqrt(1 / 0.5), "fixed", nu=2.5)
    peer = GaussianProcessRegressor(kernel, alpha=0.03 + JITTER, optimizer=None).fit(X, Y)
    mean, std = peer.predict(X_NEW, return_std=True)
    found = process().predict({"x": X_NEW})
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, std, rtol=1e-5)


def test_left_out_predictions_are_those_of_models_that_never_saw_the_datum() -> None:
    means, stds = process().left_out()
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        alone = process(X[rest], Y[rest]).predict({"x": X[i : i + 1]})
        assert means[i] == pytest.approx(alone.mean[0], rel=1e-5)
        assert stds[i] ** 2 == pytest.approx(alone.variance[0] + 0.03 + JITTER, rel=1e-5)


def test_taking_an_architecture_is_evaluating_it_with_its_mean() -> None:
    believed = process().predict({"x": X_NEW})
    taken = [2, 0]
    means = believed.mean.copy()
    for i in taken:
        believed.take(i)
    refit = process(np.vstack([X, X_NEW[taken]]), np.concatenate([Y, means[taken]]))
    expected = refit.predict({"x": X_NEW})
    np.testing.assert_allclose(believed.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(believed.std, expected.std, rtol=1e-4)


def test_hyperparameters_find_the_group_that_matters() -> None:
    rng = np.random.default_rng(1)
    groups = {"signal": rng.normal(size=(60, 2)) / 2, "noise": rng.normal(size=(60, 2)) / 2}
    targets = np.sin(3 * groups["signal"]).sum(axis=1)
    learnt = GaussianProcess(groups, targets / targets.std()).hyperparameters
    assert learnt.log_weights["signal"] > learnt.log_weights["noise"] + 1
    assert learnt.log_noise < -4


@given(st.lists(st.floats(0.05, 0.95), min_size=2, max_size=20))
def test_gap_transform_keeps_order_and_can_be_undone(accuracies: list[float]) -> None:
    values = np.array(accuracies)
    transform = GapTransform.of(values)
    np.testing.assert_allclose(transform.backward(transform.forward(values)), values, atol=1e-9)
    order = np.argsort(values)
    assert (np.diff(transform.forward(values)[order]) >= -1e-9).all()


def test_paths_of_a_cell() -> None:
    """0→3 by conv3×3; 0→1→3 by pool, then skip; all else none."""
    none, skip, conv3, pool = 0, 1, 3, 4
    (counts,) = path_counts(np.array([[pool, none, none, conv3, skip, none]]))
    assert counts.sum() == 2
    (same,) = path_counts(np.array([[conv3, none, none, pool, skip, none]]))
    np.testing.assert_array_equal(counts, same)
    (dead,) = path_counts(np.array([[pool, none, none, conv3, none, none]]))
    assert dead.sum() == 1


def test_dead_edges_of_a_cell_are_no_feature() -> None:
    features = ArchitectureFeatures(NasBench201Space())
    assert features.groups == ("choices", "sizes", "layers", "paths")
    alive = [3, 0, 0, 3, 0, 0]  # 0→1 leads nowhere
    other = [4, 0, 0, 3, 0, 0]
    for values in features([alive, other]).values():
        np.testing.assert_allclose(values[0], values[1])
    literal = ArchitectureFeatures(NasBench201Space(), literal=True)([alive, other])["literal"]
    assert (literal[0] != literal[1]).any()


def test_groups_are_scaled_alike() -> None:
    for space in (NasBench201Space(), toy_space()):
        rng = np.random.default_rng(5)
        sample = np.array([space.sample(rng) for _ in range(200)])
        for name, values in ArchitectureFeatures(space)(sample).items():
            squared = ((values[:100] - values[100:]) ** 2).sum(axis=1).mean()
            assert 0.5 < squared < 2, name


def test_surrogate_ranks_unseen_architectures() -> None:
    space = NasBench201Space()
    rng = np.random.default_rng(2)
    sample = [space.sample(rng) for _ in range(160)]
    macs = np.array([count_macs(space.resolve(choices)) for choices in sample])
    truth = 0.5 + 0.4 * np.log1p(macs) / np.log1p(macs.max()) + 0.01 * rng.random(160)
    surrogate = AccuracySurrogate(space)
    assert not surrogate.ready
    assert surrogate.rank_correlation() == 0
    surrogate.fit(sample[:60], truth[:60])
    assert surrogate.rank_correlation() > 0.8
    mean = surrogate.accuracies(surrogate.predict(sample[60:]).mean)
    assert np.corrcoef(mean, truth[60:])[0, 1] > 0.8


@pytest.mark.parametrize("accuracies", [[0.5] * 20, [0.1, 0.2, 0.3]])
def test_nothing_is_fitted_to_children_all_alike_or_too_few(accuracies: list[float]) -> None:
    space = toy_space()
    rng = np.random.default_rng(0)
    surrogate = AccuracySurrogate(space)
    surrogate.fit([space.sample(rng) for _ in accuracies], accuracies)
    assert not surrogate.ready
