"""The strategies, one a file, with their configs beside them."""

from search.strategies.evolution import EvolutionConfig, RegularisedEvolution
from search.strategies.factory import StrategyConfig, make_strategy
from search.strategies.keep_schedule import KeepScheduleConfig
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

__all__ = [
    "EvolutionConfig",
    "GPConfig",
    "KeepScheduleConfig",
    "LocalSearch",
    "LocalSearchConfig",
    "NSGA2Config",
    "NSGA2Search",
    "PPOConfig",
    "ParEGOConfig",
    "PlainPPOConfig",
    "RandomConfig",
    "RandomSearch",
    "RegularisedEvolution",
    "Reinforce",
    "ReinforceConfig",
    "StrategyConfig",
    "SurrogateConfig",
    "TPEConfig",
    "TPESearch",
    "make_strategy",
]
