"""One set of weights for all networks of a space: which part of it each layer of a network uses.

Two layers share weights where they stand at the same place and do the same work there; a narrower one uses the first
channels of the widest (Yu & Huang 2019, "Universally slimmable networks", section 3), a smaller kernel the middle of the
largest. Places and kinds are read off the resolved network, so equal networks use equal weights, whatever decisions led to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archspace import Block, Layer, Network
from child_models.layer_rules import parameter_shapes

Shape = tuple[int, ...]


class UnknownLayer(ValueError):
    """A layer that no network of the space has."""


class SharedWeights:
    """Grows as networks ask for what nothing asked for before; what comes when does not matter.

    Convolutions start with He's normal distribution for the widest layer's fan-in, as `ChildModule`'s do; linear layers with
    N(0, 0.01²).

    Args:
        blocks: all that networks may be built of, each once; see `SearchSpace.block_usage`.
        seed: of initial weights, in [0, 2³²).
    """

    def __init__(self, blocks: Iterable[Block], seed: int) -> None:
        self._seed = seed
        self._widest: dict[str, dict[str, Shape]] = {}
        for block in blocks:
            for layer, kind in _weighted(block):
                widest = self._widest.setdefault(kind, {})
                for part, shape in parameter_shapes(layer).items():
                    widest[part] = tuple(map(max, shape, widest.get(part, shape)))
        self.tensors: dict[str, Tensor] = {}
        """By name; all that some network has asked for. Leaves that require gradients."""

    def of(self, network: Network) -> dict[str, Tensor]:
        """Parameters of `network` by state-dict name: views of `tensors`, through which gradients flow.

        Raises:
            UnknownLayer: not a network of the space.
        """
        found = {}
        for layer, place, kind in _places(network):
            for part, shape in parameter_shapes(layer).items():
                whole = self._tensor(place, kind, part)
                if any(own > most for own, most in zip(shape, whole.shape, strict=True)):
                    raise UnknownLayer(
                        f"layer {layer.name} needs {part} of shape {shape}, the space's widest is {tuple(whole.shape)}"
                    )
                cut = whole[_cut(shape, tuple(whole.shape))]
                found[f"layers.{layer.name}.{part}"] = cut
        return found

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Take what `arrays` gave, by name."""
        for name, array in arrays.items():
            self.tensors[name] = _leaf(torch.from_numpy(np.array(array)))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all tensors, by name."""
        return {name: t.detach().contiguous().numpy().copy() for name, t in self.tensors.items()}

    def _tensor(self, place: str, kind: str, part: str) -> Tensor:
        name = f"{place}/{kind}/{part}"
        if name not in self.tensors:
            if kind not in self._widest:
                raise UnknownLayer(f"no network of the space has a layer {kind} in {place}")
            self.tensors[name] = _leaf(_initial(name, part, self._widest[kind][part], self._seed))
        return self.tensors[name]


def _cut(own: Shape, whole: Shape) -> tuple[slice, ...]:
    """The first channels; of a larger kernel its middle (Cai et al. 2020, "Once for all", section 3.3)."""
    starts = [
        (most - size) // 2 if axis > 1 else 0
        for axis, (size, most) in enumerate(zip(own, whole, strict=True))
    ]
    return tuple(slice(start, start + size) for start, size in zip(starts, own, strict=True))


def _leaf(tensor: Tensor) -> Tensor:
    layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    leaf = tensor.contiguous(memory_format=layout)
    leaf.requires_grad = True
    return leaf


def _initial(name: str, part: str, shape: Shape, seed: int) -> Tensor:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    match part:
        case "conv.weight":
            fan_in = int(np.prod(shape[1:]))
            return torch.empty(shape).normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        case "linear.weight":
            return torch.empty(shape).normal_(0, 0.01, generator=generator)
        case "norm.weight":
            return torch.ones(shape)
    return torch.zeros(shape)  # biases


def _places(network: Network) -> Iterator[tuple[Layer, str, str]]:
    """Each layer with parameters, where it stands, and its kind."""
    for block in network.blocks:
        for layer, kind in _weighted(block):
            # an exit's number depends on which other exits there are; what it reads does not
            place = "head" if layer.op == "linear" else block.name
            yield layer, place, kind


def _weighted(block: Block) -> Iterator[tuple[Layer, str]]:
    """Each layer with parameters, and its kind: the block's pixels, and what the layer is in the block.

    A 1×1 convolution that follows a spatial one is the same whatever kind the spatial one is of, and kernels of one kind lie
    inside each other: the more is shared, the sooner it is trained.
    """
    shape, stride = block.input_shape, max(layer.stride for layer in block.layers)
    pixels = f"{shape.height}x{shape.width}-stride{stride}"
    own = {layer.name for layer in block.layers}
    convolutions = [layer for layer in block.layers if layer.op == "conv"]
    main = [n for i, n in enumerate(convolutions) if i == 0 or n.inputs[0] in own]
    if block.name != "stem" and _is_projection(block):
        main = []
    roles = dict(zip((layer.name for layer in main), _roles(main), strict=True))
    for layer in block.layers:
        if layer.op == "conv":
            yield layer, f"{pixels}/{roles.get(layer.name, 'shortcut')}"
        elif layer.op in ("linear", "batch_norm"):
            yield layer, f"{pixels}/{layer.op}"


def _is_projection(block: Block) -> bool:
    """Whether a skip path is all there is."""
    first, *rest = block.layers
    return not rest and first.op == "conv" and first.activation == "none"


def _roles(main: Sequence[Layer]) -> Sequence[str]:
    """Of the convolutions of a block's main path, in order; see `archspace.operations.Operation`."""
    match len(main):
        case 2:
            return (_spatial(main[0]), "pointwise")
        case 3:
            return ("expand", f"expanded-{_spatial(main[1])}", "project")
    return [f"conv{i}" for i in range(len(main))]


def _spatial(layer: Layer) -> str:
    if layer.groups == layer.in_channels:
        return "depthwise"
    return f"groups-of-{layer.in_channels // layer.groups}"
