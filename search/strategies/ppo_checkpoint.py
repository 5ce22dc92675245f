"""Everything that a PPO search needs to go on bit for bit, as arrays and JSON. No pickle.

Taken at a rollout's start; ``PPO.save`` and ``PPO.load`` are not used: the one is not atomic and leaves out the
random states, the other runs code from the file.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO

from envs import ArchitectureVecEnv, VecEnvState
from search.strategies.checkpoint_store import Checkpoint

_Arrays = dict[str, NDArray[np.generic]]


def capture(
    model: MaskablePPO, env: ArchitectureVecEnv[Any], *, sequence: int, rewards: tuple[float, ...]
) -> Checkpoint:
    """The state now: agent, environments, global random states, and the rewards seen (for scaling).

    Args:
        model: before its next ``learn``.
        env: the model's environment.
        sequence: proposals made so far.
        rewards: what the reward scaling has seen.
    """
    arrays: _Arrays = {}
    for name, tensor in model.policy.state_dict().items():
        arrays[f"policy/{name}"] = tensor.numpy().copy()
    optimizer = model.policy.optimizer.state_dict()
    for number, values in optimizer["state"].items():
        for key, tensor in values.items():
            arrays[f"optimizer/{number}/{key}"] = tensor.numpy().copy()
    if model._last_obs is not None:
        arrays["last_obs"] = np.asarray(model._last_obs)
        arrays["last_episode_starts"] = np.asarray(model._last_episode_starts)
    version, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=True)
    assert isinstance(numpy_state, tuple)
    arrays["random/numpy"] = np.asarray(numpy_state[1])
    arrays["random/torch"] = torch.get_rng_state().numpy().copy()
    state = {
        "num_timesteps": model.num_timesteps,
        "n_updates": model._n_updates,
        "param_groups": optimizer["param_groups"],
        "random_python": [version, list(words), gauss],
        "random_numpy": [numpy_state[0], *(float(value) for value in numpy_state[2:])],
        "prefixes": [list(prefix) for prefix in env.get_state().prefixes],
        "rewards": list(rewards),
    }
    return Checkpoint(sequence=sequence, arrays=arrays, state=state)


def restore(checkpoint: Checkpoint, model: MaskablePPO, env: ArchitectureVecEnv[Any]) -> None:
    """Put `model`, `env` and the global random states where `capture` found them.

    `model` was made with the same config, space and seed.
    """
    arrays, state = checkpoint.arrays, checkpoint.state
    model.policy.load_state_dict(_tensors(arrays, "policy/"))
    model.policy.optimizer.load_state_dict(
        {"state": _optimizer_state(arrays), "param_groups": _param_groups(state)}
    )
    if "last_obs" in arrays:
        model._last_obs = np.array(arrays["last_obs"])
        model._last_episode_starts = np.array(arrays["last_episode_starts"])
    model.num_timesteps = state["num_timesteps"]
    model._n_updates = state["n_updates"]
    env.set_state(VecEnvState(tuple(tuple(prefix) for prefix in state["prefixes"])))
    version, words, gauss = state["random_python"]
    random.setstate((version, tuple(words), gauss))
    name, position, has_gauss, cached = state["random_numpy"]
    keys = np.array(arrays["random/numpy"])
    np.random.set_state((name, keys, int(position), int(has_gauss), cached))
    torch.set_rng_state(torch.from_numpy(np.array(arrays["random/torch"])))


def _tensors(arrays: Any, prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _optimizer_state(arrays: Any) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _tensors(arrays, "optimizer/").items():
        number, key = name.split("/", 1)
        state.setdefault(int(number), {})[key] = tensor
    return state


def _param_groups(state: Any) -> list[dict[str, Any]]:
    """JSON turns Adam's `betas` into a list; torch compares it as a pair."""
    groups = [dict(group) for group in state["param_groups"]]
    for group in groups:
        group["betas"] = tuple(group["betas"])
    return groups
