"""A network as a torch module whose weights and maps are rounded as it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from archspace import INPUT, Network
from child_models import ChildModule
from child_models.scoring import load_weights
from compress.quantisation.quantisers import FixedQuantiser, Quantiser
from compress.quantisation.result import Quantisation


class QuantisedModule(ChildModule):
    """`ChildModule` with quantisers; the network's arrays keep their state-dict names.

    A layer runs with its weights rounded, then BatchNorm and ReLU, then its map is rounded. A scale for each output channel
    goes through BatchNorm: folded in, it is multiplied with γ/√(σ² + ε), and the integers stay (their signs turn where γ < 0).

    Args:
        weight_quantisers: by layer; layers without one run as they are.
        map_quantisers: by layer or ``"input"``.
        weight_noise: standard deviation, in steps of the weight's grid, of noise on weights while training; 0 for none.
        seed: of that noise.
    """

    def __init__(
        self,
        network: Network,
        weight_quantisers: Mapping[str, Quantiser],
        map_quantisers: Mapping[str, Quantiser],
        *,
        weight_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(network)
        self.weight_quantisers = nn.ModuleDict(dict(weight_quantisers))
        self.map_quantisers = nn.ModuleDict(dict(map_quantisers))
        self._noise = weight_noise
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As `ChildModule.forward`, rounded."""
        return super().forward(self._rounded(INPUT, x))

    def run_layer(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        """The layer with rounded weights; what it gives is rounded."""
        if name not in self.weight_quantisers:
            return self._rounded(name, super().run_layer(name, inputs))
        part = self.layers[name]
        weights = {self._weight_name(name): self._rounded_weight(name)}
        return self._rounded(name, functional_call(part, weights, tuple(inputs)))

    def quantisers(self) -> list[Quantiser]:
        """All of them."""
        parts = (*self.weight_quantisers.values(), *self.map_quantisers.values())
        return [cast(Quantiser, part) for part in parts]

    def freeze(self) -> None:
        """Scales and ranges stay as they are from now on."""
        for quantiser in self.quantisers():
            quantiser.freeze()

    @torch.no_grad()
    def rounded_weights(self) -> dict[str, NDArray[np.float32]]:
        """State-dict name → weights as they are executed, without noise; of quantised layers only."""
        weights = {}
        for name, part in self.weight_quantisers.items():
            inner = self._weight_name(name)
            rounded = part(self.layers[name].get_parameter(inner))
            weights[f"layers.{name}.{inner}"] = rounded.contiguous().numpy().copy()
        return weights

    def quantisation(self) -> Quantisation:
        """The forms as they are now."""
        weights = {n: cast(Quantiser, q).form() for n, q in self.weight_quantisers.items()}
        maps = {n: cast(Any, q).form() for n, q in self.map_quantisers.items()}
        return Quantisation(weights=weights, maps=maps)

    def _weight_name(self, layer: str) -> str:
        return weight_name(str(cast(Any, self.layers[layer]).layer.op))

    def _rounded(self, name: str, values: Tensor) -> Tensor:
        if name not in self.map_quantisers:
            return values
        rounded: Tensor = self.map_quantisers[name](values)
        return rounded

    def _rounded_weight(self, name: str) -> Tensor:
        quantiser = self.weight_quantisers[name]
        weight = self.layers[name].get_parameter(self._weight_name(name))
        rounded: Tensor = quantiser(weight)
        if self._noise and self.training:
            noise = torch.empty_like(rounded).normal_(generator=self._generator)
            rounded = rounded + noise * (self._noise * cast(Any, quantiser).step(weight.ndim))
        return rounded


def weight_name(op: str) -> str:
    """Name of the kernel or matrix inside a layer, ``"conv.weight"`` or ``"linear.weight"``."""
    return f"{op}.weight"


def fake_quantised_module(
    network: Network, weights: Mapping[str, NDArray[Any]], quantisation: Quantisation
) -> QuantisedModule:
    """What INT8 executes, in float32: `weights` lie on their grids already, maps are rounded. In evaluation mode."""
    maps = {name: FixedQuantiser(grid) for name, grid in quantisation.maps.items()}
    with torch.random.fork_rng(devices=[]):
        module = QuantisedModule(network, {}, maps)
    load_weights(module, weights)
    return module
