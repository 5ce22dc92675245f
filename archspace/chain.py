"""Puts blocks one after another: names and labels follow from the blocks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archspace.network import INPUT, Block, Exit, Layer, Network, Shape


def chain_blocks(blocks: Sequence[Block], *, input_shape: Shape, num_classes: int) -> Network:
    """A network of `blocks`, each reading the one before it; the first is the stem, the last the head.

    A block that ends with a linear layer is a head: the next block reads what it reads. Labels are canonical:
    ``stem``, ``stage1.block0`` …, ``exit1`` …, ``head``; a new stage starts where pixels are halved. Equal
    block sequences therefore give equal networks.
    """
    layers: list[Layer] = []
    exits: list[Exit] = []
    source = INPUT
    labels = _labels(blocks)
    for block, label in zip(blocks, labels, strict=True):
        names = {INPUT: source}
        for layer in block.layers:
            names[layer.name] = f"n{len(layers)}"
            inputs = tuple(names[name] for name in layer.inputs)
            layers.append(replace(layer, name=names[layer.name], inputs=inputs, block=label))
        if not is_head(block):
            source = layers[-1].name
        elif label != "head":
            exits.append(Exit(name=label, layer=layers[-1].name))
    return Network(
        input_shape=input_shape,
        num_classes=num_classes,
        layers=tuple(layers),
        output=layers[-1].name,
        exits=tuple(exits),
    )


def is_head(block: Block) -> bool:
    """Whether `block` gives logits."""
    return block.layers[-1].op == "linear"


def _labels(blocks: Sequence[Block]) -> list[str]:
    labels = ["stem"]
    stage, position, exits = 1, 0, 0
    for block in blocks[1:-1]:
        if is_head(block):
            exits += 1
            labels.append(f"exit{exits}")
            continue
        if position and any(layer.stride > 1 for layer in block.layers):
            stage, position = stage + 1, 0
        labels.append(f"stage{stage}.block{position}")
        position += 1
    return [*labels, "head"]
