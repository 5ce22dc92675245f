"""What a network costs where a model over its choices predicts the latency."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture, Block, Choices, Network, SearchSpace
from evaluation.costing import Costing, costs_without_exits, estimated_energy
from evaluation.results import NetworkCosts
from latency_models import Cost

if TYPE_CHECKING:
    from latency_models import ChoiceModel

_REMEMBERED = 4096
MODEL_VERSION = 1
"""A device fitted to a table learns nothing while a search runs."""


class ChoicesCosting(Costing):
    """Latency that a `ChoiceModel` predicts from the choices; energy estimated from what the network computes.

    The model knows whole networks only, so networks with early exits are refused. It predicts by choices: where a space
    has several lists of choices for one network, their predictions may differ a little.

    Args:
        model: of the space that is searched, in ms.
    """

    def __init__(self, model: ChoiceModel) -> None:
        self._model = model
        self._remembered: OrderedDict[tuple[int, ...], NetworkCosts] = OrderedDict()

    def costs(
        self,
        architecture: Architecture,
        network: Network,
        exit_shares: Sequence[float] | None,
    ) -> NetworkCosts:
        """As `Costing.costs`; never None. Raises ValueError on early exits."""
        if network.exits:
            raise ValueError(
                f"{architecture.digest} has {len(network.exits)} early exits; the model predicts whole networks only"
            )
        # not by digest: costs must not depend on what was asked before
        choices = architecture.choices
        if choices not in self._remembered:
            self._remembered[choices] = self._predicted(choices, network)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return self._remembered[choices]

    def latencies_ms(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """(architectures,) predicted latencies of (architectures, decisions) choices, for thousands at once."""
        return self._model.predict(choices)

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> NDArray[np.float64]:
        rows = np.asarray(batch, dtype=np.intp).reshape(len(batch), len(space.decisions))
        if len(rows) == 0:
            return np.empty((0, 2))
        energy = space.total_costs(rows, ChoicesCosting.block_energy_mj)
        return np.stack([self._model.predict(rows), energy], axis=1)

    @staticmethod
    def block_energy_mj(block: Block) -> float:
        """The block's share of the energy: those of a network's blocks add up to `estimated_energy`."""
        return estimated_energy(block.as_network()).value

    def _predicted(self, choices: tuple[int, ...], network: Network) -> NetworkCosts:
        values, stds = self._model.predict_with_std(np.array([choices]))
        latency = Cost(float(values[0]), float(stds[0]), "predicted")
        return costs_without_exits(network, latency, estimated_energy(network), MODEL_VERSION)
