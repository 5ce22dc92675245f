"""Taking channels out of a network: a new network with fewer channels, and the weights that are left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from archspace import INPUT, Layer, Network
from child_models.layer_rules import weight_shapes
from compress.pruning.groups import ChannelGroup, is_depthwise
from compress.quantisation.grids import Grid
from compress.quantisation.post_training import with_bits
from compress.quantisation.result import WeightForm
from compress.trained_model import TrainedModel, Weights

Indices = NDArray[np.intp]


def remove_channels(
    model: TrainedModel, groups: Sequence[ChannelGroup], kept: Sequence[Sequence[int]]
) -> TrainedModel:
    """The model with the kept channels alone.

    What the kept channels compute from the image is unchanged but for what the removed ones gave them: a network
    whose removed channels were all zero gives the same logits.

    Args:
        groups: of `channel_groups(model.network)`.
        kept: for each group the channels that stay, ascending, at least one a block and equally many in each.

    Raises:
        ValueError: channels that do not fit their group.
    """
    if len(groups) != len(kept):
        raise ValueError(f"expected kept channels for {len(groups)} groups, got {len(kept)}")
    chosen = [_checked(group, indices) for group, indices in zip(groups, kept, strict=True)]
    outputs = _output_channels(model.network, groups, chosen)
    layers = {layer.name: layer for layer in model.network.layers}
    network = replace(
        model.network,
        layers=tuple(_smaller(layer, outputs) for layer in model.network.layers),
    )
    weights = {}
    for name in weight_shapes(model.network):
        _, layer_name, part = name.split(".", 2)
        weights[name] = _sliced(model.weights[name], part, layers[layer_name], outputs)
    small = TrainedModel.of(with_bits(network, {}), weights)
    if model.quantisation is None:
        return small
    grids = {
        name: _sliced_form(form, outputs[name]) for name, form in model.quantisation.weights.items()
    }
    # a map has one scale for all its channels
    quantisation = replace(model.quantisation, weights=grids)
    return replace(small, network=network, quantisation=quantisation)


def channels_of_maps(
    network: Network, groups: Sequence[ChannelGroup]
) -> dict[str, ChannelGroup | None]:
    """For every layer the group whose channels it gives; None where they are fixed."""
    by_layer = {name: group for group in groups for name in group.producers}
    found: dict[str, ChannelGroup | None] = {INPUT: None}
    for layer in network.layers:
        if layer.op == "linear" or (layer.op == "conv" and not is_depthwise(layer)):
            found[layer.name] = by_layer.get(layer.name)
        else:
            found[layer.name] = found[layer.inputs[0]]
    return found


def _checked(group: ChannelGroup, indices: Sequence[int]) -> Indices:
    kept = np.asarray(indices, dtype=np.intp)
    if kept.size == 0 or (np.diff(kept) <= 0).any() or kept[0] < 0 or kept[-1] >= group.size:
        raise ValueError(
            f"{group.producers[0]}: expected ascending channels from 0 to {group.size - 1}, at least one, got {indices}"
        )
    counts = np.bincount(kept // group.block_length, minlength=group.blocks)
    if (counts != counts[0]).any():
        raise ValueError(
            f"{group.producers[0]}: its {group.blocks} blocks must keep equally many channels, they keep {counts.tolist()}"
        )
    return kept


def _output_channels(
    network: Network, groups: Sequence[ChannelGroup], chosen: Sequence[Indices]
) -> dict[str, Indices]:
    """Kept channels of every map, in the old numbers."""
    of_group = {id(group): kept for group, kept in zip(groups, chosen, strict=True)}
    found = {}
    for name, group in channels_of_maps(network, groups).items():
        channels = network.shapes[name].channels
        found[name] = np.arange(channels) if group is None else of_group[id(group)]
    return found


def _smaller(layer: Layer, outputs: Mapping[str, Indices]) -> Layer:
    channels = len(outputs[layer.name])
    return replace(
        layer,
        in_channels=len(outputs[layer.inputs[0]]),
        out_channels=channels,
        groups=channels if is_depthwise(layer) else layer.groups,
    )


def _sliced(
    values: NDArray[np.float32], part: str, layer: Layer, outputs: Mapping[str, Indices]
) -> NDArray[np.float32]:
    """One array of `layer` for the channels that are left."""
    given, read = outputs[layer.name], outputs[layer.inputs[0]]
    if part == "linear.weight":
        return values[:, read]
    if part == "linear.bias":
        return values
    if part != "conv.weight" or is_depthwise(layer):
        return values[given]  # one entry an output channel
    # (out, in / groups, k, k): inputs are numbered within their group of the convolution
    length = layer.in_channels // layer.groups
    of_group = [read[read // length == number] - number * length for number in range(layer.groups)]
    rows = given // (layer.out_channels // layer.groups)
    columns = np.stack(
        [of_group[row] for row in rows]
    )  # (kept outputs, kept inputs of their group)
    sliced: NDArray[np.float32] = values[given[:, None], columns]
    return sliced


def _sliced_form(form: WeightForm, given: Indices) -> WeightForm:
    """The grid of the kept output channels; one scale a layer, or a codebook, serves any of them."""
    if not isinstance(form, Grid) or form.channel_axis is None:
        return form
    return replace(form, scale=form.scale[given], zero_point=form.zero_point[given])


def masked(
    model: TrainedModel, groups: Sequence[ChannelGroup], kept: Sequence[Sequence[int]]
) -> Weights:
    """The weights with all that makes the removed channels set to 0: what `remove_channels` must agree with.

    A removed channel is 0 after each producer, each depthwise convolution and each BatchNorm on its way.
    """
    weights = {name: array.copy() for name, array in model.weights.items()}
    for name, gone in removed_rows(groups, kept):
        if name in weights:
            weights[name][gone] = 0
    return weights


def removed_rows(
    groups: Sequence[ChannelGroup], kept: Sequence[Sequence[int]]
) -> Iterator[tuple[str, Indices]]:
    """State-dict names of arrays whose rows belong to removed channels, and those rows; some may not be there."""
    for group, indices in zip(groups, kept, strict=True):
        gone = np.setdiff1d(np.arange(group.size), indices)
        for layer in group.writers:
            for part in ("conv.weight", "conv.bias", "norm.weight", "norm.bias"):
                yield f"layers.{layer}.{part}", gone
