"""A cost model over an architecture's choices, fitted to measured architectures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspace import SearchSpace
from latency_models.calibration import TWO_SIDED_90, conformal_quantile
from latency_models.choices.encoding import ChoiceEncoding, Choices, Floats, summed
from latency_models.choices.features import PRIOR_NOISE, Features
from latency_models.choices.regression import Posterior, fit_posterior
from latency_models.errors import TableError

LEAST_MEASURED = 5
"""Architectures below which nothing is fitted."""
_RANK = 48
_MANY_FEATURES = 1000
_FEW = 20  # leave-one-out errors below which their 90 % quantile says less than the normal distribution
_LEAST_SHARE = 0.5  # of the smallest measured value: no prediction is below


@dataclass(frozen=True, kw_only=True)
class ChoiceModel:
    """Predicts a cost (ms or mJ, as measured) from choices alone.

    Attributes:
        encoding: of the space.
        intercept, weights: the prediction is `intercept` + Σ `weights` at the architecture's codes.
        factor: (num_codes, rank) float32; the squared length of (Σ factor at the codes − `centre`) is the variance
            of the prediction itself, up to `rest_variance`, which the cut to that rank leaves.
        centre: (rank,) float32.
        rest_variance, noise_variance: of what the factor leaves out, and of one measurement.
        interval_scale: after which ± 1.645 standard deviations hold 90 % of left-out measurements.
        least: no prediction is lower.
        left_out: (measured,) the prediction of each measured architecture from all others.
    """

    encoding: ChoiceEncoding
    intercept: float
    weights: Floats
    factor: NDArray[np.float32]
    centre: NDArray[np.float32]
    rest_variance: float
    noise_variance: float
    interval_scale: float
    least: float
    left_out: Floats

    def predict(self, choices: Choices) -> Floats:
        """(architectures,) predicted costs.

        Args:
            choices: (architectures, decisions) indices.
        """
        return self._mean(self.encoding.codes(choices))

    def predict_with_std(self, choices: Choices) -> tuple[Floats, Floats]:
        """(costs, their standard deviations): a measurement lies within ± 1.645 of them 9 times in 10."""
        codes = self.encoding.codes(choices)
        off = summed(self.factor, codes) - self.centre
        own = np.einsum("ij,ij->i", off, off).astype(np.float64)
        std = self.interval_scale * np.sqrt(own + self.rest_variance + self.noise_variance)
        return self._mean(codes), std

    def _mean(self, codes: NDArray[np.intp]) -> Floats:
        return np.asarray(np.maximum(self.intercept + summed(self.weights, codes), self.least))


def fit_choice_model(
    space: SearchSpace,
    choices: Choices,
    measured: Floats,
    *,
    pool: Choices,
    references: Floats | None = None,
) -> ChoiceModel:
    """Fit to measured architectures.

    Args:
        space: whose choices these are.
        choices: (architectures, decisions) indices of what was measured.
        measured: (architectures,) costs > 0.
        pool: architectures of the space (measured or not) that say what is usual there.
        references: see `references.reference_weights`.

    Raises:
        TableError: fewer than 5 architectures, or all cost the same.
    """
    measured = np.asarray(measured, dtype=np.float64)
    _check(measured)
    features = Features.of(space, pool, references)
    values = features.values(features.encoding.codes(choices))
    middle, scale = float(measured.mean()), float(measured.std())
    prior = features.prior_means()
    posterior = fit_posterior(
        [values[name] for name in prior],
        (measured - middle) / scale,
        list(prior.values()),
        PRIOR_NOISE,
    )
    return _folded(features, posterior, middle, scale, pool, measured)


def _check(measured: Floats) -> None:
    if len(measured) < LEAST_MEASURED:
        raise TableError(
            f"expected at least {LEAST_MEASURED} measured architectures to learn from, got {len(measured)}"
        )
    if not (np.isfinite(measured) & (measured > 0)).all():
        raise TableError("expected costs above 0 and finite; leave out what was not measured")
    check_varies(measured, "what was measured")


def check_varies(costs: Floats, what: str) -> None:
    """Raises TableError where all (NaN left out) are equal."""
    known = costs[np.isfinite(costs)]
    if len(known) and np.ptp(known) == 0:
        raise TableError(
            f"{what}: all {len(known)} architectures cost the same ({known[0]:g}), so nothing can be learnt; is "
            "this the right column, and are its units fine enough?"
        )


def _folded(
    features: Features,
    posterior: Posterior,
    middle: float,
    scale: float,
    pool: Choices,
    measured: Floats,
) -> ChoiceModel:
    """All groups' weights put together into one weight a code."""
    projection = np.concatenate(list(features.projections.values()), axis=1)
    centre = np.concatenate(list(features.centres.values()))
    mean = posterior.mean[:-1] * scale
    least = _LEAST_SHARE * float(measured.min())
    seen = summed(projection, features.encoding.codes(pool)) - centre  # (pool, features)
    factor, own_centre, rest = _low_rank(posterior, projection, centre, seen)
    return ChoiceModel(
        encoding=features.encoding,
        intercept=float(middle + posterior.mean[-1] * scale - centre @ mean),
        weights=projection @ mean,
        factor=(factor * scale).astype(np.float32),
        centre=(own_centre * scale).astype(np.float32),
        rest_variance=rest * scale**2,
        noise_variance=posterior.noise * scale**2,
        interval_scale=_interval_scale(posterior.loo_errors),
        least=least,
        left_out=np.maximum(middle + posterior.loo_means * scale, least),
    )


def _low_rank(
    posterior: Posterior, projection: Floats, centre: Floats, seen: Floats
) -> tuple[Floats, Floats, float]:
    """(factor, its centre, mean variance left out): the directions in which the pool's predictions vary most."""
    rows = np.column_stack([seen, np.ones(len(seen))])
    many = len(posterior.covariance) > _MANY_FEATURES
    directions = _directions_by_rows if many else _directions_by_features
    turned, rest = directions(posterior.covariance, rows)
    return projection @ turned[:-1], centre @ turned[:-1] - turned[-1], rest


def _directions_by_features(covariance: Floats, rows: Floats) -> tuple[Floats, float]:
    """((features + 1, rank) T, mean variance left out): |Tᵀφ|² is nearly φ's variance, in the mean over `rows`.

    With covariance = L·Lᵀ, the variance of a prediction is |Lᵀφ|²; of Lᵀφ the rows' main components are kept.
    """
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(covariance)))
    spread = rows @ root
    sizes, directions = np.linalg.eigh(spread.T @ spread / len(rows))
    return root @ directions[:, -_RANK:], float(sizes[:-_RANK].sum())


def _directions_by_rows(covariance: Floats, rows: Floats) -> tuple[Floats, float]:
    """The same by the covariance of some rows' predictions, where features are many."""
    rows = rows[:_MANY_FEATURES]
    spread = covariance @ rows.T
    sizes, directions = np.linalg.eigh(rows @ spread / len(rows))
    kept = np.maximum(sizes[-_RANK:], 1e-300)
    turned = spread @ directions[:, -_RANK:] / np.sqrt(kept * len(rows))
    return turned, float(np.maximum(sizes[:-_RANK], 0).sum())


def _interval_scale(loo_errors: Floats) -> float:
    """From the leave-one-out errors, in standard deviations; trusted as far as there are enough of them."""
    scale = conformal_quantile(np.abs(loo_errors), 0.9) / TWO_SIDED_90
    return max(1.0, scale) if len(loo_errors) < _FEW else scale
