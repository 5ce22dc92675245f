"""What each step of a compression takes and gives: a network with the weights that it was trained to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from archspace import Network
from child_models import Dataset, ExitChoice, Split, apply_exits, evaluate_network, weight_shapes
from child_models.layer_rules import check_weights
from child_models.scoring import evaluate_module
from child_models.training import chosen_exits
from compress.quantisation.result import Quantisation

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel:
    """A network and its weights.

    Attributes:
        network: explicit layers; pruning gives one with fewer channels, which is built and exported like any other.
        weights: every array of `weight_shapes(network)`, float32; where quantised, the numbers that their grids allow.
        quantisation: grids of weights and maps; None where all is float32.
    """

    network: Network
    weights: Weights
    quantisation: Quantisation | None = None

    def __post_init__(self) -> None:
        check_weights(self.network, self.weights)
        (self.quantisation or Quantisation()).check(self.network)

    @classmethod
    def of(cls, network: Network, weights: Mapping[str, NDArray[Any]]) -> Self:
        """With the arrays that inference needs, copied; others (BatchNorm's step counters) are left out.

        Raises:
            WeightMismatch: an array is missing or has another shape.
        """
        check_weights(network, weights)
        kept = {name: np.array(weights[name], dtype=np.float32) for name in weight_shapes(network)}
        return cls(network=network, weights=kept)

    def logits(self, split: Split, dataset: Dataset) -> list[NDArray[np.float32]]:
        """(samples, num_classes) of every head, the final one last; with rounded maps where those are quantised."""
        if self.quantisation is None or not self.quantisation.maps:
            return evaluate_network(self.network, self.weights, split, dataset)
        from compress.quantisation.module import fake_quantised_module

        module = fake_quantised_module(self.network, self.weights, self.quantisation)
        return evaluate_module(module, split, dataset)

    def accuracy(self, split: Split, dataset: Dataset) -> float:
        """Share 0–1 of images that are right where they leave; exits without a threshold are not taken."""
        logits = self.logits(split, dataset)
        thresholds = [exit_.threshold or 0.0 for exit_ in self.network.exits]
        predictions = apply_exits(logits, thresholds).predictions
        return float((predictions == split.labels).mean())

    def with_exits_chosen(self, dataset: Dataset, max_drop: float) -> tuple[Self, ExitChoice]:
        """Thresholds chosen anew on the validation split, since the weights have changed."""
        logits = self.logits(dataset.validation, dataset)
        choice = chosen_exits(self.network, logits, dataset, max_drop)
        return replace(self, network=self.network.with_thresholds(choice.thresholds)), choice
