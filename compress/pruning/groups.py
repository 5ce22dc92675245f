"""Which channels of a network must be pruned together.

Torch-Pruning's dependency graph (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning") finds the coupling from
a traced forward pass; this file is the only one that knows the library. What others see is plain data.

Residual sums couple all their addends, depthwise convolutions couple what they read and what they give. A grouped
convolution (1 < groups < channels) keeps its groups: each gives up equally many channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm

import torch
from torch import nn

from archspace import INPUT, Layer, Network
from child_models import build_module
from compress.errors import CompressionError


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelGroup:
    """Channels that go together, by number from 0 to `size` − 1.

    Attributes:
        size: how many there are.
        producers: convolutions whose outputs they are, depthwise ones left out.
        depthwise: depthwise convolutions that they pass through.
        norms: layers of their own that are BatchNorm over them.
        consumers: convolutions and linear layers that read them, depthwise ones left out.
        blocks: the channels are this many blocks of equal length, and each must give up equally many (grouped
            convolutions among producers and consumers); 1 where nothing asks for it.
    """

    size: int
    producers: tuple[str, ...]
    depthwise: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    blocks: int = 1

    @property
    def block_length(self) -> int:
        """Channels a block."""
        return self.size // self.blocks


def is_depthwise(layer: Layer) -> bool:
    """Whether each channel is convolved on its own, one output each."""
    return layer.op == "conv" and 1 < layer.groups == layer.in_channels == layer.out_channels


def channel_groups(network: Network) -> tuple[ChannelGroup, ...]:
    """Every group that may lose channels, in order of its first producer.

    Logits and the image's channels are in none, nor are channels that a head without a linear layer gives.

    Raises:
        CompressionError: the library couples channels in a way that is not understood here.
    """
    layers = {layer.name: layer for layer in network.layers}
    fixed = _maps_of_heads(network)
    found = []
    for members in _coupled(network):
        group = _group(members, layers)
        names = {*group.producers, *group.depthwise}
        if group.size > group.blocks and not names & fixed:
            found.append(group)
    return tuple(found)


def _coupled(network: Network) -> Iterator[list[tuple[str, str]]]:
    """For each set of coupled channels: (layer, "out", "in" or "norm") of all that must be changed together."""
    import torch_pruning as tp

    with torch.random.fork_rng(devices=[]):
        module = build_module(network).eval()
    names = {id(part): name for name, part in module.layers.items()}
    owners: dict[nn.Module, str] = {
        part: names[id(layer)]
        for layer in module.layers.values()
        for part in layer.modules()
        if part is not layer
    }
    images = torch.zeros(1, *network.input_shape)
    graph = tp.DependencyGraph().build_dependency(module, example_inputs=images)
    seen: set[str] = set()
    for layer in network.layers:
        if layer.op != "conv" or layer.name in seen or is_depthwise(layer):
            continue
        part = module.layers[layer.name].conv
        everything = list(range(layer.out_channels))
        group = graph.get_pruning_group(part, tp.prune_conv_out_channels, idxs=everything)
        members = []
        for dependency, indices in group:
            target = dependency.target.module
            if target not in owners:
                continue  # an operation without channels of its own
            owner = owners[target]
            if sorted(set(indices)) != everything:
                raise CompressionError(
                    f"layer {owner}: its channels are coupled to {layer.name}'s in parts; this network cannot be pruned"
                )
            is_out = graph.is_out_channel_pruning_fn(dependency.handler)
            kind = "norm" if isinstance(target, nn.BatchNorm2d) else "out" if is_out else "in"
            members.append((owner, kind))
        members = list(dict.fromkeys(members))
        seen |= {name for name, kind in members if kind == "out"}
        yield members


def _group(members: list[tuple[str, str]], layers: dict[str, Layer]) -> ChannelGroup:
    """Plain data, checked; `members` begins with a producer."""
    depthwise = {name for name, kind in members if kind != "norm" and is_depthwise(layers[name])}
    outs = [name for name, kind in members if kind == "out" and name not in depthwise]
    ins = [name for name, kind in members if kind == "in" and name not in depthwise]
    norms = [name for name, kind in members if kind == "norm" and layers[name].op == "batch_norm"]
    size = layers[outs[0]].out_channels
    groups = [layers[name].groups for name in (*outs, *ins) if layers[name].op == "conv"]
    return ChannelGroup(
        size=size,
        producers=tuple(outs),
        depthwise=tuple(name for name in layers if name in depthwise),
        norms=tuple(norms),
        consumers=tuple(ins),
        blocks=lcm(*groups),
    )


def _maps_of_heads(network: Network) -> set[str]:
    """Convolutions whose channels reach a head without a linear layer: they are the network's answer."""
    layers = {layer.name: layer for layer in network.layers}
    found: set[str] = set()
    waiting = [name for name in network.heads if layers[name].op != "linear"]
    while waiting:
        name = waiting.pop()
        if name == INPUT or name in found or layers[name].op == "linear":
            continue
        found.add(name)
        if layers[name].op != "conv" or is_depthwise(layers[name]):
            waiting.extend(layers[name].inputs)
    return found
