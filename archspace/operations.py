"""The operations of a `StagedSpace`: their names, and the layers that each one stands for."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Literal

from archspace.builder import LayerBuilder

OperationKind = Literal["conv", "dwconv", "group_conv", "mbconv", "identity", "zero"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a layer computes.

    | kind | layers (all convolutions with BatchNorm, without bias) | source |
    |---|---|---|
    | conv | k×k | |
    | dwconv | depthwise k×k, ReLU, 1×1 | MobileNet, section 3.1 |
    | group_conv | k×k in groups of `group_width` channels, ReLU, 1×1 | ResNeXt, section 3 |
    | mbconv | 1×1 to `expansion` × channels, ReLU, depthwise k×k, ReLU, 1×1 | MobileNetV2, section 3.3 |
    | identity | none: the input as it is | |
    | zero | none but the skip path | |

    conv, dwconv and group_conv end with a ReLU, after the sum where a skip connection is on (ResNet). mbconv
    ends without one, with or without a skip connection: its bottleneck is linear.
    """

    name: str
    kind: OperationKind
    kernel: int = 1
    expansion: int = 1


def _known_operations() -> dict[str, Operation]:
    operations = [Operation("identity", "identity"), Operation("zero", "zero")]
    kernels: tuple[tuple[OperationKind, tuple[int, ...]], ...] = (
        ("conv", (1, 3, 5)),
        ("dwconv", (3, 5, 7)),
        ("group_conv", (3, 5)),
    )
    for kind, sizes in kernels:
        operations += [Operation(f"{kind}_k{k}", kind, k) for k in sizes]
    for k in (3, 5, 7):
        operations += [Operation(f"mbconv_k{k}_e{e}", "mbconv", k, e) for e in range(1, 9)]
    return {operation.name: operation for operation in operations}


OPERATIONS = _known_operations()
"""Every operation that a config may name."""


def parse_operation(name: str) -> Operation:
    """The operation called `name`. Raises ValueError with the nearest known names."""
    if name in OPERATIONS:
        return OPERATIONS[name]
    close = difflib.get_close_matches(name, OPERATIONS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "choose from the list in the documentation"
    raise ValueError(
        f"unknown operation {name!r}; {hint} Known: conv_k{{1,3,5}}, dwconv_k{{3,5,7}}, "
        "group_conv_k{3,5}, mbconv_k{3,5,7}_e{1..8}, identity, zero"
    )


def append_operation(
    builder: LayerBuilder,
    operation: Operation,
    source: str,
    *,
    channels: int,
    stride: int,
    skip: bool,
    group_width: int,
) -> str:
    """Add the layers of one block that reads `source`; gives the name of its output.

    Nothing is added, and `source` itself comes back, for an identity, and for a zero whose skip path changes
    no shape. Where it does, the skip path is a projection: 1×1 convolution and BatchNorm (ResNet, option B).
    """
    if operation.kind == "identity":
        return source
    same_shape = stride == 1 and channels == builder.channels(source)
    if operation.kind == "zero":
        return source if same_shape else builder.conv(source, channels, stride=stride)
    last: Literal["none", "relu"] = "none" if operation.kind == "mbconv" else "relu"
    inner = _spatial(builder, operation, source, stride, group_width)
    out = builder.conv(
        inner,
        channels,
        kernel=operation.kernel if operation.kind == "conv" else 1,
        stride=stride if operation.kind == "conv" else 1,
        activation="none" if skip else last,
    )
    if not skip:
        return out
    shortcut = source if same_shape else builder.conv(source, channels, stride=stride)
    return builder.add((out, shortcut), activation=last)


def _spatial(
    builder: LayerBuilder, operation: Operation, source: str, stride: int, group_width: int
) -> str:
    """The layers before the last convolution; `source` itself for a plain convolution."""
    if operation.kind == "conv":
        return source
    if operation.kind == "mbconv" and operation.expansion > 1:
        wide = builder.channels(source) * operation.expansion
        source = builder.conv(source, wide, activation="relu")
    channels = builder.channels(source)
    # a width that divides the channels, even where they are no multiple of it
    width = math.gcd(channels, group_width) if operation.kind == "group_conv" else 1
    return builder.conv(
        source,
        channels,
        kernel=operation.kernel,
        stride=stride,
        groups=channels // width,
        activation="relu",
    )
