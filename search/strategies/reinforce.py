"""REINFORCE (Williams 1992) with one table of logits a decision, as NAS-Bench-201's authors run it.

Dong and Yang, ICLR 2020, appendix B: independent softmax policies, an exponential moving average as the baseline.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from archspace import Choices
from envs import CostBounds
from evaluation import LedgerSession
from search.strategy import Strategy

Floats = NDArray[np.float64]


class ReinforceConfig(BaseModel):
    """Settings of `Reinforce`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["reinforce"] = "reinforce"
    batch_size: int = Field(8, ge=1, description="architectures between two updates")
    learning_rate: float = Field(0.5, gt=0, description="of the logits, a batch")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the baseline's moving average")


class Reinforce(Strategy):
    """Samples a batch from the policy, then moves its logits along the policy gradient.

    Rewards are divided by their standard deviation so far, so that the learning rate means the same for every
    objective.
    """

    name: ClassVar[str] = "reinforce"

    def __init__(self, config: ReinforceConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(bounds, seed)
        self._config = config

    def search(self, session: LedgerSession) -> None:
        config, rng = self._config, np.random.default_rng(self.seed)
        logits = [np.zeros(len(decision.choices)) for decision in self.space.decisions]
        baseline: float | None = None
        while True:
            batch = [self._sampled(logits, rng) for _ in range(config.batch_size)]
            rewards = np.array([e.reward for e in session.evaluate(batch)])
            spread = max(float(np.std([e.reward for e in session.history])), 1e-9)
            mean = float(rewards.mean())
            baseline = (
                mean
                if baseline is None
                else config.momentum * baseline + (1 - config.momentum) * mean
            )
            gradients = [np.zeros_like(row) for row in logits]
            for choices, advantage in zip(batch, (rewards - baseline) / spread, strict=True):
                for position, choice in enumerate(choices):
                    probabilities = self._probabilities(logits, choices[:position])
                    gradients[position] -= advantage * probabilities
                    gradients[position][choice] += advantage
            for row, gradient in zip(logits, gradients, strict=True):
                row += config.learning_rate * gradient / config.batch_size

    def _sampled(self, logits: list[Floats], rng: np.random.Generator) -> Choices:
        choices: Choices = ()
        while len(choices) < len(logits):
            probabilities = self._probabilities(logits, choices)
            choices = (*choices, int(rng.choice(len(probabilities), p=probabilities)))
        return choices

    def _probabilities(self, logits: list[Floats], prefix: Choices) -> Floats:
        """Of the next decision's choices; 0 for those that are masked."""
        row, valid = logits[len(prefix)], self.space.mask(prefix)
        weights = np.where(valid, np.exp(row - row[valid].max()), 0.0)
        return np.asarray(weights / weights.sum())
