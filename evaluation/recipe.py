"""What the children of a search get beside their plain training: a teacher, the bits that were decided, or weights to inherit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from archspace import Network
from evaluation.inheritance import Inheritance
from evaluation.lesson import Lesson, train_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from child_models import Dataset, ExitChoice, Split, TrainedNetwork, TrainingConfig
    from child_models.fitting import OnStep
    from compress import ChildQuantiseConfig, Quantisation

Logits: TypeAlias = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """Plain data; it goes to workers as it is.

    Attributes:
        lesson: a teacher for all children.
        quantisation: how children that run in INT8 are quantised; none run so where it is None.
        inheritance: weights for children whose fidelity says that they inherit; what these depend on is part of that fidelity.
    """

    lesson: Lesson | None = None
    quantisation: ChildQuantiseConfig | None = None
    inheritance: Inheritance | None = None

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
    supernet: str = "",
    on_step: OnStep,
) -> Trained:
    """Train in float32, with the teacher if there is one, or inherit; then quantise where the network's layers say so.

    Args:
        supernet: digest of the weights to inherit; "": train.

    Raises:
        NonFiniteTraining: training diverged.
        ValueError: the teacher does not fit the data; bits without settings for them; or maps with NaN.
    """
    plain = network.with_bits(32) if network.is_int8 else network
    if supernet:
        trained = _inherited(recipe, supernet, plain, dataset, config)
    elif recipe.lesson is not None:
        trained = train_with(
            recipe.lesson, plain, dataset, config, epochs=epochs, seed=seed, on_step=on_step
        )
    else:
        from child_models import train_child

        trained = train_child(plain, dataset, config, epochs=epochs, seed=seed, on_step=on_step)
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


def _inherited(
    recipe: Recipe, supernet: str, network: Network, dataset: Dataset, config: TrainingConfig
) -> TrainedNetwork:
    from child_models.supernet.inheriting import inherit

    has = "none" if recipe.inheritance is None else recipe.inheritance.digest
    if recipe.inheritance is None or has != supernet:
        raise ValueError(f"expected the shared weights {supernet}, got {has}")
    return inherit(network, recipe.inheritance.weights, dataset, config)
