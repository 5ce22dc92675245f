"""What the objective wants, as the agent is shown it."""

from __future__ import annotations

from envs import DEFAULT_WEIGHTS
from evaluation import InverseConfig, MinMaxConfig, MnasNetConfig, Objective, WeightSchedule

Weights = tuple[float, float, float]


def preference_weights(objective: Objective | None, step: int) -> Weights:
    """Shares of accuracy, latency and energy in the objective at proposal number `step`; they sum to 1.

    `minmax` and `inverse`: their weights. `mnasnet`: 1 for accuracy against its exponent for latency.
    An objective of another kind, or None, gives the default weights.
    """
    config = getattr(objective, "config", None)
    if isinstance(config, MnasNetConfig):
        exponent = 1.0 if config.mode == "hard" else -config.soft_exponent
        return 1 / (1 + exponent), exponent / (1 + exponent), 0.0
    if not isinstance(config, MinMaxConfig | InverseConfig):
        return DEFAULT_WEIGHTS
    accuracy, latency, energy = (
        weight.at(step) if isinstance(weight, WeightSchedule) else weight
        for weight in (config.accuracy_weight, config.latency_weight, config.energy_weight)
    )
    total = accuracy + latency + energy
    if total == 0:
        return 0.0, 0.0, 0.0
    return accuracy / total, latency / total, energy / total
