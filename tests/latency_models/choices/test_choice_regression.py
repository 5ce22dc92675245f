"""Evidence, its slopes, and leave-one-out errors against plain formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from latency_models.choices.regression import (
    Evidence,
    _dual_evidence,
    _primal_evidence,
    fit_posterior,
)

RNG = np.random.default_rng(0)
GROUPS = [RNG.standard_normal((12, 3)), RNG.standard_normal((12, 5))]
Z = RNG.standard_normal(12)
VARIANCES, NOISE = np.array([0.7, 0.2]), 0.3


def kernel(variances: np.ndarray, noise: float) -> np.ndarray:
    parts = [v * group @ group.T for v, group in zip(variances, GROUPS, strict=True)]
    return sum(parts) + 1.0 + noise * np.eye(len(Z))


def test_both_forms_are_the_normal_distributions_log_density() -> None:
    def density(variances: np.ndarray, noise: float) -> float:
        return multivariate_normal(np.zeros(12), kernel(variances, noise)).logpdf(Z)

    other = np.array([0.1, 1.5]), 0.05
    expected = density(VARIANCES, NOISE) - density(*other)
    for form in (_dual_evidence, _primal_evidence):
        evidence = form(GROUPS, Z)
        found = evidence(VARIANCES, NOISE)[0] - evidence(*other)[0]
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("form", [_dual_evidence, _primal_evidence])
def test_slopes(form: Callable[..., Evidence]) -> None:
    evidence = form(GROUPS, Z)
    point = np.append(VARIANCES, NOISE)
    slopes = approx_fprime(point, lambda p: evidence(p[:-1], p[-1])[0], 1e-7)
    assert evidence(VARIANCES, NOISE)[1] == pytest.approx(slopes, rel=1e-4, abs=1e-4)


def test_leave_one_out_errors_are_those_of_fits_without_the_one() -> None:
    posterior = fit_posterior(GROUPS, Z, [0.0, 0.0], -2.0)
    full = kernel(posterior.variances, posterior.noise)
    for i in (0, 5):
        rest = np.delete(np.arange(12), i)
        solved = np.linalg.solve(
            full[np.ix_(rest, rest)], np.column_stack([Z[rest], full[rest, i]])
        )
        mean = full[i, rest] @ solved[:, 0]
        variance = full[i, i] - full[i, rest] @ solved[:, 1]
        assert posterior.loo_means[i] == pytest.approx(mean)
        assert posterior.loo_errors[i] == pytest.approx((Z[i] - mean) / np.sqrt(variance))


@pytest.mark.parametrize("rows", [5, 12], ids=["fewer rows", "fewer features"])
def test_the_posterior_is_the_textbooks(rows: int) -> None:
    groups = [group[:rows] for group in GROUPS]
    posterior = fit_posterior(groups, Z[:rows], [0.0, 0.0], -2.0)
    design = np.column_stack([*groups, np.ones(rows)])
    prior = np.append(np.repeat(posterior.variances, [3, 5]), 1.0)
    covariance = np.linalg.inv(design.T @ design / posterior.noise + np.diag(1 / prior))
    assert posterior.covariance == pytest.approx(covariance, abs=1e-9)
    assert posterior.mean == pytest.approx(covariance @ design.T @ Z[:rows] / posterior.noise)


def test_the_evidence_finds_which_group_matters_and_how_loud_the_noise_is() -> None:
    rng = np.random.default_rng(1)
    useful, useless = rng.standard_normal((400, 4)) / 2, rng.standard_normal((400, 30)) / 5.5
    z = useful @ np.array([1.5, -1.0, 0.5, 1.0]) + 0.3 * rng.standard_normal(400)
    z = (z - z.mean()) / z.std()
    posterior = fit_posterior([useful, useless], z, [-3.0, 0.0], -1.0)
    assert posterior.variances[0] > 20 * posterior.variances[1]
    signal = np.square(useful @ np.array([1.5, -1.0, 0.5, 1.0])).mean()
    assert posterior.noise == pytest.approx(0.09 / (signal + 0.09), rel=0.2)
