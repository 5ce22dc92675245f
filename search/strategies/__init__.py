"""The strategies, one a file, with their configs beside them."""

from search.strategies.evolution import EvolutionConfig, RegularisedEvolution
from search.strategies.factory import StrategyConfig, make_strategy
from search.strategies.local_search import LocalSearch, LocalSearchConfig
from search.strategies.optuna_samplers import NSGA2Config, NSGA2Search, TPEConfig, TPESearch
from search.strategies.ppo_config import KeepScheduleConfig, PPOConfig
from search.strategies.random_search import RandomConfig, RandomSearch

__all__ = [
    "EvolutionConfig",
    "KeepScheduleConfig",
    "LocalSearch",
    "LocalSearchConfig",
    "NSGA2Config",
    "NSGA2Search",
    "PPOConfig",
    "RandomConfig",
    "RandomSearch",
    "RegularisedEvolution",
    "StrategyConfig",
    "TPEConfig",
    "TPESearch",
    "make_strategy",
]
