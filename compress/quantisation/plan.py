"""Bits by kind of layer, and what layers take at given bits."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from archspace import WEIGHTED, Layer, Network
from child_models.layer_rules import has_norm, parameter_shapes
from compress.quantisation.result import WeightForm
from deploy.packing import packed_size_bytes

Kind = Literal["depthwise", "pointwise", "grouped", "conv", "linear"]
Bits = Annotated[int, Field(ge=2, le=8)] | Literal[32]


class BitPlan(BaseModel):
    """How many bits the weights of each kind of layer get; `first` and `last` go before kinds, null leaves them to their kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    depthwise: Bits = 8
    """Convolutions with one channel a group: few weights, and the first to suffer."""
    pointwise: Bits = 4
    """1×1 convolutions without groups."""
    grouped: Bits = 8
    """Convolutions with several channels a group."""
    conv: Bits = 4
    """All other convolutions."""
    linear: Bits = 8
    """Heads of early exits; the final one too where `last` is null."""
    first: Bits | None = 8
    """Layers that read the image."""
    last: Bits | None = 8
    """The final head."""

    @classmethod
    def uniform(cls, bits: int) -> Self:
        """The same bits everywhere."""
        kinds = dict.fromkeys(("depthwise", "pointwise", "grouped", "conv", "linear"), bits)
        return cls.model_validate({**kinds, "first": None, "last": None})

    def at_most(self, bits: int) -> Self:
        """This plan with `bits` where it has more."""
        own = {kind: wide and min(wide, bits) for kind, wide in self.model_dump().items()}
        return self.model_validate(own)

    def bits(self, network: Network) -> dict[str, int]:
        """Bits of every conv and linear layer, by name, in the network's order."""
        planned = {}
        for layer in network.layers:
            if layer.op not in WEIGHTED:
                continue
            own: int = getattr(self, layer_kind(layer))
            if self.first is not None and "input" in layer.inputs:
                own = self.first
            if self.last is not None and layer.name == network.output:
                own = self.last
            planned[layer.name] = own
        return planned


def layer_kind(layer: Layer) -> Kind:
    """Which field of `BitPlan` a conv or linear layer falls under."""
    if layer.op == "linear":
        return "linear"
    if layer.groups > 1:
        return "depthwise" if layer.groups == layer.in_channels else "grouped"
    return "pointwise" if layer.kernel == 1 else "conv"


def layer_size_bytes(layer: Layer, bits: int, *, numbers: int | None = None) -> int:
    """Bytes of a layer as it is stored for inference, BatchNorm folded in.

    With 32 bits: 4 a weight, and 4 an output channel for the bias. With fewer: the packed weights with their header and float32
    `numbers` (scales, one an output channel by default, or centroids), and the bias. A BatchNorm on its own: 8 a channel.
    """
    if layer.op not in WEIGHTED:
        return 8 * layer.out_channels if has_norm(layer) else 0
    count = prod(parameter_shapes(layer)[f"{layer.op}.weight"])
    bias = 4 * layer.out_channels
    if bits == 32:
        return 4 * count + bias
    return packed_size_bytes(count, bits, layer.out_channels if numbers is None else numbers) + bias


def network_size_bytes(network: Network, bits: Mapping[str, int]) -> int:
    """Sum of `layer_size_bytes` with one scale an output channel; layers that `bits` does not name have 32."""
    return sum(layer_size_bytes(layer, bits.get(layer.name, 32)) for layer in network.layers)


def form_size_bytes(layer: Layer, form: WeightForm | None) -> int:
    """As `layer_size_bytes`, exactly as packed: a codebook has k centroids, and scales of BatchNorm beside them."""
    if form is None:
        return layer_size_bytes(layer, 32)
    centroids = getattr(form, "centroids", None)
    if centroids is None:
        return layer_size_bytes(layer, form.bits)
    own = layer_size_bytes(layer, form.bits, numbers=len(centroids))
    return own + (4 * layer.out_channels if has_norm(layer) else 0)


def mean_bits(network: Network, bits: Mapping[str, int]) -> float:
    """Bits a weight, on average over all weights of conv and linear layers."""
    counts = {
        layer.name: prod(parameter_shapes(layer)[f"{layer.op}.weight"])
        for layer in network.layers
        if layer.op in WEIGHTED
    }
    return sum(counts[n] * bits.get(n, 32) for n in counts) / max(1, sum(counts.values()))
