"""Bayesian linear regression whose groups of weights have a variance each, chosen by the evidence.

    z = b + Σ_groups F_g · w_g + ε,    w_g ~ N(0, v_g · I),    b ~ N(0, 1),    ε ~ N(0, v_noise)

The variances maximise the log marginal likelihood (type II maximum likelihood: MacKay 1992, "Bayesian Interpolation";
Rasmussen & Williams 2006, section 5.4) plus a weak prior: log v ~ N(its mean, 2²). So with ten measurements the prior
means speak, with hundreds the measurements do. `z` has mean 0 and variance 1, each F_g a mean squared norm of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from latency_models.blas import one_blas_thread

Floats = NDArray[np.float64]
Evidence = Callable[[Floats, float], tuple[float, Floats]]
"""(v_g of each group, v_noise) → (log evidence up to a constant, its derivatives by each of them)."""

_PRIOR_STD = 2.0
_LEAST_NOISE = 1e-4
_BOUNDS = (-14.0, 6.0)
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of the weights (the intercept last).

    Attributes:
        variances: v_g of each group.
        noise: v_noise.
        mean: (features + 1,).
        covariance: (features + 1, features + 1).
        loo_means: (measurements,) prediction of each from all others.
        loo_errors: (measurements,) their errors, in their predicted standard deviations.
    """

    variances: Floats
    noise: float
    mean: Floats
    covariance: Floats
    loo_means: Floats
    loo_errors: Floats


def fit_posterior(
    groups: Sequence[Floats], z: Floats, prior_means: Sequence[float], prior_noise: float
) -> Posterior:
    """Fit.

    Args:
        groups: (measurements, features of the group) each.
        z: (measurements,), standardised.
        prior_means: mean of log v_g, one a group.
        prior_noise: mean of log v_noise.
    """
    means = np.array([*prior_means, prior_noise])
    num_features = sum(group.shape[1] for group in groups)
    form = _dual_evidence if len(z) <= num_features else _primal_evidence
    evidence = form(groups, z)

    def loss(logs: Floats) -> tuple[float, Floats]:
        value, gradient = evidence(np.exp(logs[:-1]), _noise(logs[-1]))
        gradient = gradient * np.append(np.exp(logs[:-1]), np.exp(logs[-1]))
        off = (logs - means) / _PRIOR_STD
        return float(0.5 * off @ off - value), off / _PRIOR_STD - gradient

    with one_blas_thread():
        best = minimize(
            loss,
            means,
            jac=True,
            method="L-BFGS-B",
            bounds=[_BOUNDS] * len(means),
            options={"maxiter": _STEPS},
        )
    return _posterior(groups, z, np.exp(best.x[:-1]), _noise(best.x[-1]))


def _noise(log_noise: float) -> float:
    return float(np.exp(log_noise)) + _LEAST_NOISE


def _dual_evidence(groups: Sequence[Floats], z: Floats) -> Evidence:
    """By the (measurements, measurements) kernel."""
    kernels = [group @ group.T for group in groups]

    def evidence(variances: Floats, noise: float) -> tuple[float, Floats]:
        total = noise * np.eye(len(z)) + 1.0  # 1: the intercept's variance
        for variance, kernel in zip(variances, kernels, strict=True):
            total += variance * kernel
        inverse = np.linalg.inv(total)
        alpha = inverse @ z
        value = -0.5 * (z @ alpha + np.linalg.slogdet(total)[1])
        slopes = [0.5 * (alpha @ kernel @ alpha - np.sum(inverse * kernel)) for kernel in kernels]
        slopes.append(0.5 * (alpha @ alpha - np.trace(inverse)))
        return float(value), np.array(slopes)

    return evidence


def _primal_evidence(groups: Sequence[Floats], z: Floats) -> Evidence:
    """By the (features, features) matrix: cheaper where measurements are many."""
    design, of_group = _design(groups)
    gram, moment, square = design.T @ design, design.T @ z, z @ z

    def evidence(variances: Floats, noise: float) -> tuple[float, Floats]:
        prior = np.append(1 / variances[of_group], 1.0)
        inverse = np.linalg.inv(gram / noise + np.diag(prior))
        weights = inverse @ moment / noise
        log_det = -np.linalg.slogdet(inverse)[1] - np.log(prior).sum() + len(z) * np.log(noise)
        residual = square - 2 * weights @ moment + weights @ gram @ weights
        value = -0.5 * ((square - moment @ weights) / noise + log_det)
        # ∂/∂v of the evidence at the posterior: (w² + its variance − v) / 2v², summed over the group
        each = 0.5 * prior**2 * (weights**2 + np.diag(inverse) - 1 / prior)
        slopes = [each[:-1][of_group == g].sum() for g in range(len(groups))]
        slopes.append(0.5 * ((residual + np.sum(inverse * gram)) / noise**2 - len(z) / noise))
        return float(value), np.array(slopes)

    return evidence


def _design(groups: Sequence[Floats]) -> tuple[Floats, NDArray[np.intp]]:
    """(all features and a column of ones, which group each feature is of)."""
    of_group = np.repeat(np.arange(len(groups)), [group.shape[1] for group in groups])
    return np.column_stack([*groups, np.ones(len(groups[0]))]), of_group


def _posterior(groups: Sequence[Floats], z: Floats, variances: Floats, noise: float) -> Posterior:
    """By the smaller one of the two matrices; leave-one-out as in Rasmussen & Williams 2006, equations 5.10-5.12."""
    design, of_group = _design(groups)
    scale = np.append(np.sqrt(variances[of_group]), 1.0)
    scaled = design * scale
    if len(z) < len(scale):
        kernel_inverse = np.linalg.inv(scaled @ scaled.T + noise * np.eye(len(z)))
        alpha, precision = kernel_inverse @ z, np.diag(kernel_inverse)
        mean = scaled.T @ alpha
        covariance = np.eye(len(scale)) - scaled.T @ kernel_inverse @ scaled
    else:
        covariance = np.linalg.inv(scaled.T @ scaled / noise + np.eye(len(scale)))
        mean = covariance @ scaled.T @ z / noise
        # the kernel's inverse by Woodbury: (I − A·covariance·Aᵀ / noise) / noise
        alpha = (z - scaled @ mean) / noise
        leverage = np.einsum("ij,jk,ik->i", scaled, covariance, scaled, optimize=True) / noise
        precision = np.maximum(1 - leverage, 1e-9) / noise
    return Posterior(
        variances=variances,
        noise=noise,
        mean=mean * scale,
        covariance=covariance * np.outer(scale, scale),
        loo_means=z - alpha / precision,
        loo_errors=alpha / np.sqrt(precision),
    )
