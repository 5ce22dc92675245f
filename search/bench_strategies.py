"""The strategies that `bench search` knows, each with the settings that it runs with there."""

from __future__ import annotations

from search.config import ASYNCHRONOUS_STRATEGIES
from search.strategies import (
    EvolutionConfig,
    GPConfig,
    LocalSearchConfig,
    NSGA2Config,
    ParEGOConfig,
    PlainPPOConfig,
    PPOConfig,
    RandomConfig,
    ReinforceConfig,
    StrategyConfig,
    SurrogateConfig,
    TPEConfig,
)

STRATEGIES = (
    "ppo",
    "ppo-plain",
    "reinforce",
    "surrogate",
    "random",
    "evolution",
    "local",
    "gp",
    "tpe",
    "nsga2",
    "parego",
)
_INITIAL = 10


def bench_config(name: str, batch_size: int, *, front: bool) -> StrategyConfig:
    """Published settings; `batch_size` architectures at once.

    Raises:
        ValueError: no such strategy.
    """
    goal = "front" if front else "reward"
    initial = max(_INITIAL, batch_size)
    match name:
        case "ppo":
            return PPOConfig(batch_size=batch_size, initial=initial, goal=goal)
        case "surrogate":
            return SurrogateConfig(batch_size=batch_size, initial=initial, goal=goal)
        case "ppo-plain":
            return PlainPPOConfig(num_envs=batch_size)
        case "reinforce":
            return ReinforceConfig(batch_size=batch_size)
        case "random":
            return RandomConfig()
        case "evolution":
            return EvolutionConfig(population=20, tournament=5, batch_size=batch_size)
        case "local":
            return LocalSearchConfig(initial_samples=1, batch_size=batch_size)
        case "gp":
            return GPConfig(batch_size=batch_size, initial=initial)
        case "tpe":
            return TPEConfig(batch_size=batch_size)
        case "nsga2":
            return NSGA2Config(population=max(10, batch_size), batch_size=batch_size)
        case "parego":
            return ParEGOConfig(batch_size=batch_size, initial=initial)
    raise ValueError(f"expected a strategy of {', '.join(STRATEGIES)}; got {name!r}")


ASYNCHRONOUS = tuple(
    name
    for name in STRATEGIES
    if isinstance(bench_config(name, 1, front=False), ASYNCHRONOUS_STRATEGIES)
)
"""Those that propose without evaluating: a window of architectures may be under way."""
