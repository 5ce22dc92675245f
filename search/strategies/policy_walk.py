"""Asking a policy for whole architectures, outside of any training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO

from archspace import Choices
from envs import CostBounds, LimitedSpace, ObservationEncoder
from search.strategies.preference import Weights


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One decision of many architectures that a policy builds in lockstep.

    Attributes:
        masks: (architectures, choices) what was valid.
        probabilities: (architectures, choices), 0 where not valid.
        choices: (architectures,) what was drawn.
    """

    masks: NDArray[np.bool_]
    probabilities: NDArray[np.float64]
    choices: NDArray[np.intp]


def policy_steps(
    model: MaskablePPO,
    bounds: CostBounds,
    weights: Weights,
    count: int,
    rng: np.random.Generator,
    *,
    own_limits: tuple[float, float] | None = None,
) -> Iterator[PolicyStep]:
    """The policy decides `count` architectures, shown `weights` and `own_limits` (`OWN_LIMITS`, infinite where none)."""
    space, encoder = LimitedSpace(bounds), ObservationEncoder(bounds)
    limits = None if own_limits is None else np.tile(own_limits, (count, 1))
    shown = np.tile(weights, (count, 1))
    prefixes = np.empty((count, 0), dtype=np.intp)
    num_actions = int(model.action_space.n)
    for _ in space.decisions:
        valid = space.masks_within(prefixes, limits)
        masks = np.zeros((count, num_actions), dtype=np.bool_)
        masks[:, : valid.shape[1]] = valid
        observations = encoder.encode_many(prefixes, shown, limits)
        with torch.no_grad():
            policy = model.policy.get_distribution(
                torch.from_numpy(observations), action_masks=masks
            )
        probabilities = policy.distribution.probs.double().numpy()[:, : valid.shape[1]]
        probabilities = np.where(valid, probabilities, 0.0)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        drawn = rng.random(count)[:, None] < probabilities.cumsum(axis=1)
        drawn[np.arange(count), valid.shape[1] - 1 - valid[:, ::-1].argmax(axis=1)] = True
        choices = drawn.argmax(axis=1)
        yield PolicyStep(valid, probabilities, choices)
        prefixes = np.column_stack([prefixes, choices])


def policy_samples(
    model: MaskablePPO,
    bounds: CostBounds,
    weights: Weights,
    count: int,
    rng: np.random.Generator,
    *,
    own_limits: tuple[float, float] | None = None,
) -> list[Choices]:
    """Distinct ones of `count` architectures; see `policy_steps`."""
    steps = policy_steps(model, bounds, weights, count, rng, own_limits=own_limits)
    rows = np.column_stack([step.choices for step in steps])
    return list(dict.fromkeys(map(tuple, rows.tolist())))
