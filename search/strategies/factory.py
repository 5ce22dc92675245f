"""From a strategy's config to the strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from archspace import SearchSpace
from envs import CostBounds
from evaluation import Objective
from search.strategies.evolution import EvolutionConfig, RegularisedEvolution
from search.strategies.local_search import LocalSearch, LocalSearchConfig
from search.strategies.model_based_config import (
    GPConfig,
    ParEGOConfig,
    PPOConfig,
    SurrogateConfig,
)
from search.strategies.optuna_samplers import NSGA2Config, NSGA2Search, TPEConfig, TPESearch
from search.strategies.plain_ppo_config import PlainPPOConfig
from search.strategies.random_search import RandomConfig, RandomSearch
from search.strategies.reinforce import Reinforce, ReinforceConfig
from search.strategy import Strategy

StrategyConfig = Annotated[
    PPOConfig
    | SurrogateConfig
    | PlainPPOConfig
    | ReinforceConfig
    | RandomConfig
    | EvolutionConfig
    | LocalSearchConfig
    | GPConfig
    | TPEConfig
    | NSGA2Config
    | ParEGOConfig,
    Field(discriminator="name"),
]


def make_strategy(
    config: StrategyConfig,
    *,
    space: SearchSpace,
    bounds: CostBounds,
    seed: int,
    checkpoint_dir: Path | None = None,
    objective: Objective | None = None,
) -> Strategy:
    """The strategy that `config` describes.

    Args:
        config: one of the strategies' configs.
        space: what is searched; `bounds` are this space's.
        bounds: additive costs and hard limits.
        seed: of the strategy's random numbers.
        checkpoint_dir: where PPO keeps its checkpoints; the others resume from the ledger's log alone.
        objective: its weights are shown to plain PPO's agent; the default weights where it is not given.
    """
    if bounds.space is not space:
        raise ValueError("the cost bounds belong to another space: make them from this one")
    match config:
        case PPOConfig():
            # torch and Stable-Baselines3 are loaded only where they are needed
            from search.strategies.ppo import PPOSearch

            return PPOSearch(config, bounds, seed, checkpoint_dir)
        case PlainPPOConfig():
            from search.strategies.plain_ppo import PlainPPOSearch

            return PlainPPOSearch(config, bounds, seed, checkpoint_dir, objective)
        case SurrogateConfig():
            from search.strategies.surrogate_search import SurrogateSearch

            return SurrogateSearch(config, bounds, seed)
        case GPConfig():
            from search.strategies.gaussian_process_search import GPSearch

            return GPSearch(config, bounds, seed)
        case ParEGOConfig():
            from search.strategies.gaussian_process_search import ParEGOSearch

            return ParEGOSearch(config, bounds, seed)
        case ReinforceConfig():
            return Reinforce(config, bounds, seed)
        case RandomConfig():
            return RandomSearch(config, bounds, seed)
        case EvolutionConfig():
            return RegularisedEvolution(config, bounds, seed)
        case LocalSearchConfig():
            return LocalSearch(config, bounds, seed)
        case TPEConfig():
            return TPESearch(config, bounds, seed)
        case NSGA2Config():
            return NSGA2Search(config, bounds, seed)
