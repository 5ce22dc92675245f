"""What the children of a search get beside their plain training: a teacher, and the bits that were decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from archspace import Network
from evaluation.lesson import Lesson, train_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from child_models import Dataset, ExitChoice, Split, TrainingConfig
    from child_models.fitting import OnStep
    from compress import ChildQuantiseConfig, Quantisation

Logits: TypeAlias = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """Plain data; it goes to workers as it is.

    Attributes:
        lesson: a teacher for all children.
        quantisation: how children that run in INT8 are quantised; none run so where it is None.
    """

    lesson: Lesson | None = None
    quantisation: ChildQuantiseConfig | None = None

    @property
    def key(self) -> str:
        """What results depend on, as text; "" for plain training."""
        text = "" if self.lesson is None else f"/{self.lesson.key}"
        if self.quantisation is not None:
            text += f"/bits:{self.quantisation.model_dump_json()}"
        return text


PLAIN = Recipe()
"""Nothing but training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A child with the thresholds chosen for it; `quantisation` is None where it runs in float32."""

    network: Network
    weights: Mapping[str, NDArray[Any]]
    exit_choice: ExitChoice
    quantisation: Quantisation | None = None

    def logits(self, split: Split, dataset: Dataset) -> Logits:
        """(samples, num_classes) of every head, the final one last, as the child runs."""
        if self.quantisation is None:
            from child_models import evaluate_network

            return evaluate_network(self.network, self.weights, split, dataset)
        from compress import TrainedModel

        model = TrainedModel(
            network=self.network, weights=self.weights, quantisation=self.quantisation
        )
        return model.logits(split, dataset)


def train_by(
    recipe: Recipe,
    network: Network,
    dataset: Dataset,
    config: TrainingConfig,
    *,
    epochs: int,
    seed: int,
    on_step: OnStep,
) -> Trained:
    """Train in float32, with the teacher if there is one; then quantise where the network's layers say so.

    Raises:
        NonFiniteTraining: training diverged.
        ValueError: the teacher does not fit the data; bits without settings for them; or maps with NaN.
    """
    from child_models import train_child

    plain = network.with_bits(32) if network.is_int8 else network
    if recipe.lesson is None:
        trained = train_child(plain, dataset, config, epochs=epochs, seed=seed, on_step=on_step)
    else:
        trained = train_with(
            recipe.lesson, plain, dataset, config, epochs=epochs, seed=seed, on_step=on_step
        )
    if not network.is_int8:
        return Trained(network=network, weights=trained.weights, exit_choice=trained.exit_choice)
    from compress import quantise_child

    if recipe.quantisation is None:
        raise ValueError("the network has weights of 8 bits or fewer, and no quantisation is set")
    child = quantise_child(
        network, trained.weights, dataset, recipe.quantisation, config, seed=seed, on_step=on_step
    )
    return Trained(
        network=network,
        weights=child.model.weights,
        exit_choice=child.exit_choice,
        quantisation=child.model.quantisation,
    )
