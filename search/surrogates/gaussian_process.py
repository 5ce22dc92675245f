"""A Gaussian process over groups of features: one length scale a group, learnt from the data.

    k(x, x') = s² · M(r),   r² = Σ_g exp(θ_g) · |x_g − x'_g|²,   M(r) = (1 + √5 r + 5 r² / 3) · exp(−√5 r)

(Rasmussen & Williams 2006, "Gaussian Processes for Machine Learning", equations 4.17, 2.23-2.26 and 5.12). The
hyperparameters maximise the marginal likelihood times a wide prior, by L-BFGS; with few data the prior decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from latency_models.blas import one_blas_thread

Floats = NDArray[np.float64]

MOST_FOR_HYPERPARAMETERS = 256
_JITTER = 1e-6
_STEPS = 25
_GROWTH = 1.1
_PRIOR_SCALE = (
    -1.0,
    1.0,
)  # mean and std of θ_g: groups matter about alike, and correlations reach far
_PRIOR_SIGNAL = (0.0, 1.0)  # of log s², targets being standardised
_PRIOR_NOISE = (-4.0, 1.5)  # of the logarithm of the noise's variance


@dataclass(frozen=True)
class Hyperparameters:
    """θ_g by group, log s² and the logarithm of the noise's variance."""

    log_weights: Mapping[str, float]
    log_signal: float = _PRIOR_SIGNAL[0]
    log_noise: float = _PRIOR_NOISE[0]


class Posterior:
    """Means and variances at some architectures, which may be taken as evaluated one after the other.

    Attributes:
        mean: (m,).
        variance: (m,), > 0; shrinks around architectures taken (`take`).
    """

    def __init__(
        self,
        *,
        mean: Floats,
        variance: Floats,
        noise: float,
        covariance_with: Callable[[int], Floats],
    ) -> None:
        self.mean = mean
        self.variance = variance.copy()
        self._noise = noise
        self._covariance_with = covariance_with
        self._taken: list[Floats] = []

    @property
    def std(self) -> Floats:
        """(m,) standard deviations."""
        return np.sqrt(self.variance)

    def take(self, i: int) -> None:
        """Go on as if architecture `i` had been evaluated, with its mean as the result.

        The means stay, the variances shrink: the "kriging believer" (Ginsbourger, Le Riche and Carraro 2010).
        """
        covariance = self._covariance_with(i)
        for earlier in self._taken:
            covariance = covariance - earlier * earlier[i]
        scaled = covariance / np.sqrt(max(float(self.variance[i]), 1e-12) + self._noise)
        self._taken.append(scaled)
        self.variance = np.maximum(self.variance - scaled**2, 1e-12)


class GaussianProcess:
    """Posterior over a function of architectures.

    Args:
        features: group → (n, features of the group); n ≥ 2.
        targets: (n,), about standardised.
        hyperparameters: where the optimiser starts; the prior's means by default.
        optimise: False keeps them as they are.
        seed: which of more than 256 data the hyperparameters are learnt from.
    """

    def __init__(
        self,
        features: Mapping[str, Floats],
        targets: Floats,
        *,
        hyperparameters: Hyperparameters | None = None,
        optimise: bool = True,
        seed: int = 0,
    ) -> None:
        self._x = {name: torch.from_numpy(np.asarray(x)) for name, x in features.items()}
        self._y = torch.from_numpy(np.asarray(targets, dtype=np.float64))
        self.hyperparameters = hyperparameters or Hyperparameters(
            dict.fromkeys(features, _PRIOR_SCALE[0])
        )
        if optimise:
            self.hyperparameters = self._optimised(seed)
        distances = torch.stack([_squared_distances(x, x) for x in self._x.values()])
        signal, noise = _signal_and_noise(self.hyperparameters)
        covariance = signal * _matern(distances, self._weights())
        covariance += (noise + _JITTER) * torch.eye(len(self._y), dtype=torch.float64)
        self._cholesky = torch.linalg.cholesky(covariance)
        self._pull = torch.cholesky_solve(self._y[:, None], self._cholesky)[:, 0]

    def predict(self, features: Mapping[str, Floats]) -> Posterior:
        """Of the function without the noise, at m architectures."""
        signal, noise = _signal_and_noise(self.hyperparameters)
        x = {name: torch.from_numpy(np.asarray(features[name])) for name in self._x}
        cross = self._cross(x)
        explained = torch.linalg.solve_triangular(self._cholesky, cross.T, upper=False)
        variance = (signal - (explained**2).sum(dim=0)).clamp_min(1e-12)

        def prior_with(i: int) -> Floats:
            distances = torch.stack([_squared_distances(g, g[i : i + 1]) for g in x.values()])
            return (signal * _matern(distances, self._weights()))[:, 0].numpy()

        return Posterior(
            mean=(cross @ self._pull).numpy(),
            variance=variance.numpy(),
            noise=noise + _JITTER,
            covariance_with=lambda i: prior_with(i) - (explained.T @ explained[:, i]).numpy(),
        )

    def mean(self, features: Mapping[str, Floats]) -> Floats:
        """(m,), as `predict` gives it, without the variance."""
        x = {name: torch.from_numpy(np.asarray(features[name])) for name in self._x}
        return (self._cross(x) @ self._pull).numpy()

    @property
    def noise(self) -> float:
        """Variance of a datum about the function."""
        return _signal_and_noise(self.hyperparameters)[1] + _JITTER

    @property
    def targets(self) -> Floats:
        """(n,), as given."""
        return self._y.numpy()

    def left_out(self) -> tuple[Floats, Floats]:
        """Prediction of each datum from all others: (mean, standard deviation with noise), (n,) each.

        Closed form: Rasmussen & Williams, equation 5.12.
        """
        inverse = torch.cholesky_inverse(self._cholesky)
        variance = 1 / inverse.diagonal()
        return (self._y - self._pull * variance).numpy(), variance.sqrt().numpy()

    def left_out_groups(self, groups: NDArray[np.integer]) -> Floats:
        """Prediction (n,) of each datum from those of all other groups; `groups` (n,) numbers them from 0.

        The same closed form with blocks of the inverse: y_B − ((K⁻¹)_BB)⁻¹ (K⁻¹ y)_B.
        """
        inverse = torch.cholesky_inverse(self._cholesky)
        predicted = self._y.clone()
        for group in range(int(groups.max()) + 1):
            own = torch.from_numpy(np.flatnonzero(groups == group))
            predicted[own] -= torch.linalg.solve(inverse[own][:, own], self._pull[own])
        return predicted.numpy()

    def _cross(self, x: Mapping[str, torch.Tensor]) -> torch.Tensor:
        signal, _ = _signal_and_noise(self.hyperparameters)
        distances = torch.stack([_squared_distances(x[n], own) for n, own in self._x.items()])
        return signal * _matern(distances, self._weights())

    def _weights(self) -> torch.Tensor:
        logs = [self.hyperparameters.log_weights[name] for name in self._x]
        return torch.tensor(logs, dtype=torch.float64).exp()

    def _optimised(self, seed: int) -> Hyperparameters:
        chosen = self._subset(seed)
        distances = torch.stack(
            [_squared_distances(x[chosen], x[chosen]) for x in self._x.values()]
        )
        targets = self._y[chosen]
        start = self.hyperparameters
        logs = [*start.log_weights.values(), start.log_signal, start.log_noise]

        def loss(values: Floats) -> tuple[float, Floats]:
            parameters = torch.tensor(values, dtype=torch.float64, requires_grad=True)
            total = _negative_log_posterior(parameters, distances, targets)
            total.backward()  # type: ignore[no-untyped-call]
            assert parameters.grad is not None
            return float(total.detach()), parameters.grad.numpy()

        bounds = [(-12.0, 6.0)] * len(self._x) + [(-5.0, 5.0), (-12.0, 2.0)]
        with one_blas_thread():  # eight numbers at a time
            found = minimize(
                loss, logs, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS}
            )
        *log_weights, log_signal, log_noise = (float(value) for value in found.x)
        return Hyperparameters(dict(zip(self._x, log_weights, strict=True)), log_signal, log_noise)

    def _subset(self, seed: int) -> torch.Tensor:
        count = len(self._y)
        if count <= MOST_FOR_HYPERPARAMETERS:
            return torch.arange(count)
        rng = np.random.default_rng(seed)
        return torch.from_numpy(rng.choice(count, MOST_FOR_HYPERPARAMETERS, replace=False))


class Learner:
    """Gaussian processes fitted one after the other to more and more data of one kind.

    Hyperparameters are learnt anew whenever there are a tenth more data; they are all that is kept in between.

    Args:
        seed: see `GaussianProcess`.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.hyperparameters: Hyperparameters | None = None
        self.learnt_at = 0
        """Number of data that the hyperparameters were learnt from."""

    @property
    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""
        learnt = self.hyperparameters
        return {
            "learnt_at": self.learnt_at,
            "learnt": learnt and [dict(learnt.log_weights), learnt.log_signal, learnt.log_noise],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.learnt_at = state["learnt_at"]
        self.hyperparameters = Hyperparameters(*state["learnt"]) if state["learnt"] else None

    def fit(self, features: Mapping[str, Floats], targets: Floats) -> GaussianProcess:
        """See `GaussianProcess`."""
        renew = self.hyperparameters is None or len(targets) >= _GROWTH * self.learnt_at
        model = GaussianProcess(
            features,
            targets,
            hyperparameters=self.hyperparameters,
            optimise=renew,
            seed=self._seed,
        )
        if renew:
            self.hyperparameters, self.learnt_at = model.hyperparameters, len(targets)
        return model


def _squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    squares = (a**2).sum(dim=1)[:, None] + (b**2).sum(dim=1)[None, :] - 2 * a @ b.T
    return squares.clamp_min(0.0)


def _matern(distances: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Matérn 5/2 of (groups, n, m) squared distances."""
    squared = 5 * torch.einsum("g,gnm->nm", weights, distances)
    root = (squared + 1e-12).sqrt()
    return (1 + root + squared / 3) * torch.exp(-root)


def _signal_and_noise(hyperparameters: Hyperparameters) -> tuple[float, float]:
    return math.exp(hyperparameters.log_signal), math.exp(hyperparameters.log_noise)


def _negative_log_posterior(
    parameters: torch.Tensor, distances: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    log_weights, log_signal, log_noise = parameters[:-2], parameters[-2], parameters[-1]
    covariance = log_signal.exp() * _matern(distances, log_weights.exp())
    covariance = covariance + (log_noise.exp() + _JITTER) * torch.eye(
        len(targets), dtype=torch.float64
    )
    cholesky = torch.linalg.cholesky(covariance)
    fit = 0.5 * targets @ torch.cholesky_solve(targets[:, None], cholesky)[:, 0]
    size = cholesky.diagonal().log().sum()
    priors = (
        (((log_weights - _PRIOR_SCALE[0]) / _PRIOR_SCALE[1]) ** 2).sum()
        + ((log_signal - _PRIOR_SIGNAL[0]) / _PRIOR_SIGNAL[1]) ** 2
        + ((log_noise - _PRIOR_NOISE[0]) / _PRIOR_NOISE[1]) ** 2
    )
    total: torch.Tensor = fit + size + 0.5 * priors
    return total
