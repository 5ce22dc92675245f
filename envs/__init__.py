"""Environments in which an agent makes the decisions of a search space, one a step.

Importing the package registers ``Netlathe/Architecture-v0`` with Gymnasium; `ArchitectureVecEnv`, which needs
Stable-Baselines3, is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from envs.architecture_env import DEFAULT_WEIGHTS, ArchitectureEnv
from envs.cost_bounds import OWN_LIMITS, CostBounds, CostTerm
from envs.limits_mask import LimitedSpace
from envs.observation import NUM_WEIGHTS, ObservationEncoder
from envs.registration import ENV_ID, register

if TYPE_CHECKING:
    from envs.vec_env import ArchitectureVecEnv, VecEnvState

__all__ = [
    "DEFAULT_WEIGHTS",
    "ENV_ID",
    "NUM_WEIGHTS",
    "OWN_LIMITS",
    "ArchitectureEnv",
    "ArchitectureVecEnv",
    "CostBounds",
    "CostTerm",
    "LimitedSpace",
    "ObservationEncoder",
    "VecEnvState",
]

register()

if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in ("ArchitectureVecEnv", "VecEnvState"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("envs.vec_env"), name)
