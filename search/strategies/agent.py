"""What both PPO searchers are made of: the agent, its masks, and the checkpoint it goes on from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import Logger

from archspace import Choices
from envs import ArchitectureVecEnv, CostBounds
from evaluation import LedgerSession
from search.strategies.checkpoint_store import Checkpoint, CheckpointStore
from search.strategies.model_based_config import PPOConfig
from search.strategies.plain_ppo_config import PlainPPOConfig

_log = logging.getLogger(__name__)


def make_agent(
    env: ArchitectureVecEnv[Any],
    config: PPOConfig | PlainPPOConfig,
    *,
    learning_rate: float | Callable[[float], float],
    n_steps: int,
    batch_size: int,
    seed: int,
) -> MaskablePPO:
    """Masked PPO with γ = λ = 1, since only the last step of an episode is rewarded."""
    agent = MaskablePPO(
        "MlpPolicy",
        env,
        learning_rate=learning_rate,
        n_steps=n_steps,
        batch_size=batch_size,
        n_epochs=config.epochs,
        gamma=1.0,
        gae_lambda=1.0,
        clip_range=config.clip_range,
        ent_coef=config.entropy,
        vf_coef=config.value_weight,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs={"net_arch": list(config.hidden), "activation_fn": torch.nn.Tanh},
        seed=seed,
        device="cpu",
    )
    # its own would make a folder in the temporary directory at every `learn`
    agent.set_logger(Logger(folder=None, output_formats=[]))
    return agent


def without_known(
    prefix: Choices, valid: NDArray[np.bool_], known: Collection[Choices]
) -> NDArray[np.bool_]:
    """The last decision's `valid` choices that complete nothing `known`; all of them where none does."""
    new = [ok and (*prefix, i) not in known for i, ok in enumerate(valid)]
    return np.array(new) if any(new) else valid


class AgentCheckpoints:
    """Where an agent's checkpoints are; nowhere, if there is no `directory`.

    Args:
        directory: see `CheckpointStore`.
        config, bounds, seed: all that decides the agent's proposals, apart from the ledger's answers.
    """

    def __init__(
        self, directory: Path | None, config: BaseModel, bounds: CostBounds, seed: int
    ) -> None:
        content = {
            "config": config.model_dump(mode="json"),
            "space": bounds.space.digest,
            "limits": bounds.limits.model_dump(mode="json"),
            "seed": seed,
        }
        text = json.dumps(content, sort_keys=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._store = CheckpointStore(directory, fingerprint) if directory else None

    def start(self, session: LedgerSession) -> Checkpoint | None:
        """The latest usable one, with `session` put where it was taken; None: the log is replayed from its start."""
        for checkpoint in self._store.usable() if self._store else ():
            if checkpoint.sequence > session.logged:
                _log.warning("checkpoint at %d is ahead of the log", checkpoint.sequence)
                continue
            session.start_at(checkpoint.sequence)
            _log.info("%s goes on from proposal %d", session.name, checkpoint.sequence)
            return checkpoint
        return None

    def save(self, take: Callable[[], Checkpoint]) -> None:
        """What `take` gives; not being able to write it is a warning."""
        if self._store is None:
            return
        checkpoint = take()
        try:
            self._store.save(checkpoint)
        except OSError as error:  # the log alone is enough to resume, only slower
            _log.warning("no checkpoint at proposal %d: %s", checkpoint.sequence, error)
