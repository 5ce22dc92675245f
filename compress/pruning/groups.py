"""Which channels of a network must be pruned together. The one file that knows Torch-Pruning.

Its dependency graph (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning") traces a module through autograd. What is
traced here is not the network itself but a skeleton that is connected in the same way, since autograd does not see
everything that couples:

| in the network | in the skeleton | why |
|---|---|---|
| the image | a 1×1 convolution of the image | what is added to the image, or follows it, must keep its channels |
| a grouped convolution | one with a single group | inputs and outputs are not coupled, but Torch-Pruning takes groups = outputs for depthwise |
| a layer that nothing reads | one more head | only what leads to a head is traced |

Residual sums couple all their addends, depthwise convolutions couple what they read and what they give. A grouped
convolution (1 < groups < channels) keeps its groups: each gives up equally many channels. What comes out is checked
against the layers (`_check`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import lcm

import torch
from torch import nn

from archspace import INPUT, WEIGHTED, Exit, Layer, Network
from child_models import ChildModule, build_module
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

    @property
    def writers(self) -> tuple[str, ...]:
        """Layers with one row of their arrays a channel."""
        return (*self.producers, *self.depthwise, *self.norms)


def is_depthwise(layer: Layer) -> bool:
    """Whether each channel is convolved on its own, one output each."""
    return layer.op == "conv" and 1 < layer.groups == layer.in_channels == layer.out_channels


def channel_groups(network: Network) -> tuple[ChannelGroup, ...]:
    """Every group that may lose channels, in order of its first producer.

    The channels of the image and of the heads are in none, nor is what is coupled with them; a group that must keep one
    channel of each of its blocks and has no more is left out, too.

    Raises:
        CompressionError: the graph contradicts the layers; nothing is guessed then.
        UnbuildableNetwork: a layer that cannot be executed.
    """
    skeleton = _skeleton(network)
    image = skeleton.layers[0].name
    found = [
        _group(network, writing, reading)
        for writing, reading in _traced(skeleton)
        if image not in writing and not writing & set(network.heads)
    ]
    order = {layer.name: place for place, layer in enumerate(network.layers)}
    found.sort(key=lambda group: order[group.producers[0]])
    _check(network, found)
    return tuple(group for group in found if group.size > group.blocks)


def _skeleton(network: Network) -> Network:
    """See the file's head. The image's stand-in is the first layer."""
    image = "image"
    while any(layer.name == image for layer in network.layers):
        image += "_"
    channels = network.input_shape.channels
    stand_in = Layer(
        name=image,
        op="conv",
        inputs=(INPUT,),
        block="",
        in_channels=channels,
        out_channels=channels,
    )
    layers = [
        replace(
            layer,
            groups=layer.groups if is_depthwise(layer) else 1,
            inputs=tuple(image if source == INPUT else source for source in layer.inputs),
        )
        for layer in network.layers
    ]
    read = {source for layer in network.layers for source in layer.inputs} | {network.output}
    ends = (*(e.layer for e in network.exits), *(x.name for x in layers if x.name not in read))
    return replace(
        network,
        layers=(stand_in, *layers),
        exits=tuple(Exit(name=name, layer=name) for name in dict.fromkeys(ends)),
    )


def _traced(skeleton: Network) -> Iterator[tuple[set[str], set[str]]]:
    """(layers that write the channels, layers that only read them) of each group."""
    import torch_pruning

    with torch.random.fork_rng(devices=[]):
        module = build_module(skeleton)
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(
            module, torch.zeros(1, *skeleton.input_shape)
        )
    names = _layer_names(module)
    for group in graph.get_all_groups():
        writing, reading = set[str](), set[str]()
        for dependency, _ in group:
            name = names.get(dependency.target.module)
            if name is not None:
                writes = graph.is_out_channel_pruning_fn(dependency.handler)
                (writing if writes else reading).add(name)
        yield writing, reading


def _layer_names(module: ChildModule) -> dict[nn.Module, str]:
    """The layer's name of each convolution, BatchNorm and linear layer."""
    return {part: name for name, layer in module.layers.items() for part in layer.children()}


def _group(network: Network, writing: set[str], reading: set[str]) -> ChannelGroup:
    """Plain data, layers in the network's order."""
    writers = [layer for layer in network.layers if layer.name in writing]
    readers = [layer for layer in network.layers if layer.name in reading]
    depthwise = [layer for layer in writers if is_depthwise(layer)]
    norms = [layer for layer in writers if layer.op == "batch_norm"]
    producers = [layer for layer in writers if layer not in depthwise and layer not in norms]
    grouped = [layer.groups for layer in (*producers, *readers) if layer.op == "conv"]
    return ChannelGroup(
        size=producers[0].out_channels,
        producers=_names(producers),
        depthwise=_names(depthwise),
        norms=_names(norms),
        consumers=_names(readers),
        blocks=lcm(*grouped),  # every one divides the number of channels, so this does
    )


def _names(layers: Sequence[Layer]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)


def _check(network: Network, groups: Sequence[ChannelGroup]) -> None:
    """Follow the channels through the layers: each map must belong to one group, or to none."""
    writes = {name: i for i, group in enumerate(groups) for name in group.writers}
    reads = {name: i for i, group in enumerate(groups) for name in group.consumers}
    if len(writes) < sum(len(group.writers) for group in groups):
        raise CompressionError("a layer's channels are in two groups; please report the network")
    of: dict[str, int | None] = {INPUT: None}
    for layer in network.layers:
        sources = {of[source] for source in layer.inputs}
        mixes = layer.op in WEIGHTED and not is_depthwise(layer)
        source = sources.pop()
        expected = reads.get(layer.name) if mixes else writes.get(layer.name, source)
        if sources or expected != source:
            raise CompressionError(
                f"layer {layer.name}: its inputs {layer.inputs} are of other channel groups than Torch-Pruning says; "
                "please report the network"
            )
        of[layer.name] = writes.get(layer.name) if mixes else source
