"""From accuracy, latency and energy to one number, the reward.

The reward steers a search; which networks are best is decided on the Pareto front, never on it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.objective_config import (
    InverseConfig,
    MinMaxConfig,
    MnasNetConfig,
    ObjectiveConfig,
    Weight,
    WeightSchedule,
)

Floats = NDArray[np.float64]

LARGEST_RATIO = 1.5
"""Being more than this many times cheaper than the reference earns nothing more (`inverse`)."""

WORST_COST_TERM = -0.25
"""What a network far above the bounds gets for its latency or energy (`minmax`)."""

_BELOW = 0.01
"""How far the failure reward lies below the smallest possible real one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveBounds:
    """What the space offers, from its table of smallest and largest networks; frozen for a whole run.

    Latencies in ms, energies in mJ; 0 < min < max.
    """

    latency_min_ms: float
    latency_max_ms: float
    energy_min_mj: float
    energy_max_mj: float

    def __post_init__(self) -> None:
        pairs = {
            "latency_ms": (self.latency_min_ms, self.latency_max_ms),
            "energy_mj": (self.energy_min_mj, self.energy_max_mj),
        }
        for name, (low, high) in pairs.items():
            if not (math.isfinite(high) and 0 < low < high):
                raise ValueError(
                    f"bounds of {name}: expected 0 < min < max, got {low:g} and {high:g}; "
                    "a space whose networks all cost the same needs weight 0 for it"
                )


class Objective(ABC):
    """Gives rewards. Deterministic; the larger, the better."""

    @abstractmethod
    def reward(
        self, accuracy: float, latency_ms: float | None, energy_mj: float | None, step: int
    ) -> float:
        """Reward of a network.

        Args:
            accuracy: validation accuracy with its exits, share 0-1.
            latency_ms: expected latency, > 0; None where unknown.
            energy_mj: expected energy, > 0; None where unknown.
            step: the proposal's place in its session, from 0; weights may depend on it.

        Raises:
            ValueError: a cost that counts at this step is unknown, or a value is out of its range.
        """

    def rewards(
        self, accuracies: Floats, latencies_ms: Floats, energies_mj: Floats, step: int
    ) -> Floats:
        """`reward` of many networks: (n,) from (n,) each; NaN where a cost that counts is unknown (NaN)."""
        known = ~self._unknown(latencies_ms, energies_mj)
        rewards = np.full(len(accuracies), math.nan)
        columns = (accuracies[known], latencies_ms[known], energies_mj[known])
        rewards[known] = [
            self.reward(float(accuracy), float(latency), float(energy), step)
            for accuracy, latency, energy in zip(*columns, strict=True)
        ]
        return rewards

    def reweighted(self, weights: tuple[float, float, float]) -> Objective:
        """The same objective for another preference: weights of accuracy, latency and energy.

        An objective without weights is returned as it is.
        """
        return self

    def _unknown(self, latencies_ms: Floats, energies_mj: Floats) -> NDArray[np.bool_]:
        if not self.needs_costs:
            return np.zeros(len(latencies_ms), dtype=np.bool_)
        return np.isnan(latencies_ms) | np.isnan(energies_mj)

    @property
    @abstractmethod
    def failure_reward(self) -> float:
        """What failed and rejected proposals get: finite, below every real reward of any step."""

    @property
    def needs_costs(self) -> bool:
        """Whether any step's reward depends on latency or energy."""
        return True

    @property
    def settings(self) -> str:
        """Text that is equal for objectives that give equal rewards; a resumed session checks it."""
        return type(self).__name__


def make_objective(config: ObjectiveConfig, bounds: ObjectiveBounds | None) -> Objective:
    """The objective that `config` describes.

    `bounds` may be None where nothing of the space's costs is used: `mnasnet`, weights of 0 for latency
    and energy, or references given in the config.

    Raises:
        ValueError: bounds are needed and missing.
    """
    if isinstance(config, MinMaxConfig):
        return MinMax(config, bounds)
    if isinstance(config, InverseConfig):
        return Inverse(config, bounds)
    return MnasNet(config)


@dataclass(frozen=True)
class MinMax(Objective):
    """α·(acc − lo)/(hi − lo) + β·(lat_max − lat)/(lat_max − lat_min) + γ·(the same for energy).

    lo and hi are the accuracy floor and ceiling. Below the floor the first term is negative. A cost term is
    1 for the space's smallest network, 0 for its largest, above 1 where exits make a network cheaper still,
    and never below `WORST_COST_TERM`.
    """

    config: MinMaxConfig
    bounds: ObjectiveBounds | None

    def __post_init__(self) -> None:
        if self.bounds is None and self.needs_costs:
            raise ValueError("minmax with a weight for latency or energy needs the space's bounds")

    def rewards(
        self, accuracies: Floats, latencies_ms: Floats, energies_mj: Floats, step: int
    ) -> Floats:
        config, bounds = self.config, self.bounds
        span = config.accuracy_ceiling - config.accuracy_floor
        total = (
            weight_at(config.accuracy_weight, step) * (accuracies - config.accuracy_floor) / span
        )
        if beta := weight_at(config.latency_weight, step):
            assert bounds is not None
            total = total + beta * _cost_terms(
                latencies_ms, bounds.latency_min_ms, bounds.latency_max_ms
            )
        if gamma := weight_at(config.energy_weight, step):
            assert bounds is not None
            total = total + gamma * _cost_terms(
                energies_mj, bounds.energy_min_mj, bounds.energy_max_mj
            )
        return np.asarray(total)

    def reweighted(self, weights: tuple[float, float, float]) -> MinMax:
        return replace(self, config=self.config.model_copy(update=_named(weights)))

    def reward(
        self, accuracy: float, latency_ms: float | None, energy_mj: float | None, step: int
    ) -> float:
        _check_accuracy(accuracy)
        latency, energy = math.nan, math.nan
        if weight_at(self.config.latency_weight, step):
            latency = _known("latency_ms", latency_ms)
        if weight_at(self.config.energy_weight, step):
            energy = _known("energy_mj", energy_mj)
        rewards = self.rewards(np.array([accuracy]), np.array([latency]), np.array([energy]), step)
        return float(rewards[0])

    @property
    def failure_reward(self) -> float:
        """Below a network that is never right and costs far more than the space's largest."""
        config = self.config
        span = config.accuracy_ceiling - config.accuracy_floor
        worst = -largest_weight(config.accuracy_weight) * config.accuracy_floor / span
        for weight in (config.latency_weight, config.energy_weight):
            worst += largest_weight(weight) * WORST_COST_TERM
        return worst - _BELOW

    @property
    def needs_costs(self) -> bool:
        return _costs_count(self.config)

    @property
    def settings(self) -> str:
        return f"{self.config!r} {self.bounds!r}"


@dataclass(frozen=True)
class Inverse(Objective):
    """α·acc + β·min(lat_ref/lat, 1.5) + γ·min(e_ref/e, 1.5) from the accuracy floor on.

    Below the floor the reward is α·(acc − floor) < 0: nothing is earned by being fast. (Unclipped and without a
    floor, this objective's optimum on NAS-Bench-201 is a network of 9.7 % accuracy.)
    """

    config: InverseConfig
    bounds: ObjectiveBounds | None

    def __post_init__(self) -> None:
        missing = (
            self.config.latency_reference_ms is None or self.config.energy_reference_mj is None
        )
        if self.bounds is None and self.needs_costs and missing:
            raise ValueError(
                "inverse needs the space's bounds, or latency_reference_ms and energy_reference_mj"
            )

    def reward(
        self, accuracy: float, latency_ms: float | None, energy_mj: float | None, step: int
    ) -> float:
        config = self.config
        _check_accuracy(accuracy)
        alpha = weight_at(config.accuracy_weight, step)
        if accuracy < config.accuracy_floor:
            return alpha * (accuracy - config.accuracy_floor)
        total = alpha * accuracy
        if beta := weight_at(config.latency_weight, step):
            total += beta * _ratio(self.latency_reference_ms, _known("latency_ms", latency_ms))
        if gamma := weight_at(config.energy_weight, step):
            total += gamma * _ratio(self.energy_reference_mj, _known("energy_mj", energy_mj))
        return total

    def reweighted(self, weights: tuple[float, float, float]) -> Inverse:
        return replace(self, config=self.config.model_copy(update=_named(weights)))

    @property
    def latency_reference_ms(self) -> float:
        """lat_ref in ms: the config's, else the geometric mean of the bounds."""
        if self.config.latency_reference_ms is not None:
            return self.config.latency_reference_ms
        assert self.bounds is not None
        return math.sqrt(self.bounds.latency_min_ms * self.bounds.latency_max_ms)

    @property
    def energy_reference_mj(self) -> float:
        """e_ref in mJ: the config's, else the geometric mean of the bounds."""
        if self.config.energy_reference_mj is not None:
            return self.config.energy_reference_mj
        assert self.bounds is not None
        return math.sqrt(self.bounds.energy_min_mj * self.bounds.energy_max_mj)

    @property
    def failure_reward(self) -> float:
        """Below a network that is never right."""
        return -largest_weight(self.config.accuracy_weight) * self.config.accuracy_floor - _BELOW

    @property
    def needs_costs(self) -> bool:
        return _costs_count(self.config)

    @property
    def settings(self) -> str:
        return f"{self.config!r} {self.bounds!r}"


@dataclass(frozen=True)
class MnasNet(Objective):
    """acc·(lat/T)^w (MnasNet, Tan et al. 2019, section 3.1, equations 2 and 3).

    Soft: w = `soft_exponent` everywhere (the paper's −0.07). Hard: w = 0 up to the target, −1 above it.
    """

    config: MnasNetConfig

    def reward(
        self, accuracy: float, latency_ms: float | None, energy_mj: float | None, step: int
    ) -> float:
        _check_accuracy(accuracy)
        ratio = _known("latency_ms", latency_ms) / self.config.target_latency_ms
        if self.config.mode == "hard":
            return accuracy if ratio <= 1 else accuracy / ratio
        return float(accuracy * ratio**self.config.soft_exponent)

    @property
    def failure_reward(self) -> float:
        """Below a network that is never right, which gets 0."""
        return -_BELOW

    @property
    def settings(self) -> str:
        return repr(self.config)


def _named(weights: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("accuracy_weight", "latency_weight", "energy_weight"), weights, strict=True))


def weight_at(weight: Weight, step: int) -> float:
    """The weight of proposal number `step`."""
    return weight.at(step) if isinstance(weight, WeightSchedule) else weight


def largest_weight(weight: Weight) -> float:
    """The largest weight of any step."""
    return weight.largest if isinstance(weight, WeightSchedule) else weight


def _costs_count(config: MinMaxConfig | InverseConfig) -> bool:
    return largest_weight(config.latency_weight) > 0 or largest_weight(config.energy_weight) > 0


def _cost_terms(values: Floats, low: float, high: float) -> Floats:
    return np.maximum((high - values) / (high - low), WORST_COST_TERM)


def _ratio(reference: float, value: float) -> float:
    return min(reference / value, LARGEST_RATIO)


def _known(name: str, value: float | None) -> float:
    if value is None or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: the objective needs a finite number > 0, got {value}")
    return value


def _check_accuracy(accuracy: float) -> None:
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy: expected a share in [0, 1], got {accuracy}")
