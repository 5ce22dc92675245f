"""Makes the environment known to Gymnasium."""

from __future__ import annotations

import gymnasium

ENV_ID = "Netlathe/Architecture-v0"


def register() -> None:
    """Register `ENV_ID`; does nothing where that is done already."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(ENV_ID, entry_point="envs.architecture_env:ArchitectureEnv")
