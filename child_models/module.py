"""A resolved network as a `torch.nn.Module`: one small module a layer, run in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from archspace import INPUT, Layer, Network
from child_models.layer_rules import BATCH_NORM_EPSILON, check_buildable, has_norm

Step: TypeAlias = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A layer's name, what it reads, and what nothing reads after it."""


class ChildModule(nn.Module):
    """`network` as torch runs it.

    State-dict names are ``layers.<layer name>.`` plus ``conv.weight``, ``conv.bias``, ``norm.*`` or
    ``linear.*``. Convolutions start with He's normal distribution, fan-in (He et al. 2015, section 2.2; right
    for grouped convolutions too), BatchNorm with scale 1 and shift 0, linear layers with N(0, 0.01²) and bias
    0 (as MobileNetV2 does). Initial values come from torch's global generator.

    Raises:
        UnbuildableNetwork: a layer that cannot be executed.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        check_buildable(network)
        self.network = network
        self.layers = nn.ModuleDict({layer.name: _LayerModule(layer) for layer in network.layers})
        self._steps = _steps(network)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of every head.

        Args:
            x: normalised images, (batch, channels, height, width), any memory format.

        Returns:
            One (batch, num_classes) tensor a head, in the order of `network.heads`: exits, then the final one.
            (A head that is no linear layer, as in a block on its own, gives its map.)
        """
        live = {INPUT: x}
        heads = {}
        wanted = set(self.network.heads)
        for name, inputs, dead in self._steps:
            live[name] = self.run_layer(name, [live[source] for source in inputs])
            if name in wanted:
                heads[name] = live[name]
            for source in dead:
                del live[source]
        return tuple(heads[name] for name in self.network.heads)

    def run_layer(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        """What layer `name` gives for `inputs`; subclasses may change either, or the weights in between."""
        result: Tensor = self.layers[name](*inputs)
        return result


def build_module(network: Network) -> ChildModule:
    """A new module for `network`, in training mode, on the CPU. See `ChildModule`."""
    return ChildModule(network)


def _steps(network: Network) -> tuple[Step, ...]:
    """The layers in order, each with the maps that may be freed once it has run."""
    last_reader = {source: layer.name for layer in network.layers for source in layer.inputs}
    return tuple(
        (
            layer.name,
            layer.inputs,
            tuple(
                name
                for name in dict.fromkeys((*layer.inputs, layer.name))
                # a layer that nothing reads (a head) is its own last reader
                if last_reader.get(name, name) == layer.name
            ),
        )
        for layer in network.layers
    )


class _LayerModule(nn.Module):
    """One layer; has the submodules `conv`, `norm` and `linear` that its operation needs."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        if layer.op == "conv":
            strided = layer.kernel == 1 and layer.stride > 1 and layer.padding == 0
            self.conv = (_StridedPointwise if strided else nn.Conv2d)(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                groups=layer.groups,
                bias=layer.bias,
            )
        if has_norm(layer):
            self.norm = nn.BatchNorm2d(layer.out_channels, eps=BATCH_NORM_EPSILON)
        if layer.op == "linear":
            self.linear = nn.Linear(layer.in_channels, layer.out_channels)
        self._has_norm = has_norm(layer)
        self._activates = layer.activation == "relu" and layer.op in ("conv", "batch_norm", "add")

    def forward(self, *inputs: Tensor) -> Tensor:
        x = self._operate(inputs)
        if self._has_norm:
            x = self.norm(x)
        # in place is safe: x was made here, and neither convolution, BatchNorm nor sum needs it backwards
        return F.relu_(x) if self._activates else x

    def _operate(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The operation without BatchNorm and activation: maps (batch, channels, height, width)."""
        layer, x = self.layer, inputs[0]
        match layer.op:
            case "conv":
                x = self.conv(x)
            case "relu":
                x = F.relu(x)
            case "avg_pool":
                x = F.avg_pool2d(
                    x, layer.kernel, layer.stride, layer.padding, count_include_pad=False
                )
            case "add":
                for other in inputs[1:]:
                    x = x + other
            case "zeros":
                x = x * 0.0
            case "global_avg_pool":
                x = x.mean((2, 3), keepdim=True)
            case "linear":
                x = self.linear(x.flatten(1))  # (batch, channels, 1, 1) -> (batch, classes)
        return x


class _StridedPointwise(nn.Conv2d):
    """A 1×1 convolution with a stride: takes the pixels that it reads first, then works without a stride.

    The same numbers, but not through oneDNN's backward pass for strided 1×1 convolutions in channels-last layout, which
    (torch 2.13, AVX-512) writes past its workspace and kills the process for 12 channels or fewer on maps of 48×48 and more.
    """

    def forward(self, input: Tensor) -> Tensor:
        rows, columns = (int(stride) for stride in self.stride)
        read = input[:, :, ::rows, ::columns]
        return F.conv2d(read, self.weight, self.bias, groups=self.groups)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.zeros_(module.bias)
