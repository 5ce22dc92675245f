"""MobileNetV3-like networks of a wanted size: the peers of `headline.py`.

The rows are those of MobileNetV3-Small (Howard et al. 2019, "Searching for MobileNetV3", table 2): kernel, expanded
and output channels of each bottleneck, the 1×1 convolution before pooling, the hidden layer behind it. What makes them
*like* it, not it: ReLU throughout, where the paper has hard-swish in the later rows, and no squeeze-and-excitation. The
project's primitive layers have neither; both cost time at batch 1, and both may add accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from archspace import INPUT, Layer, Network, Shape
from archspace.builder import LayerBuilder
from child_models import count_params

TOLERANCE = 0.05
"""Largest relative difference between the wanted number of parameters and a network's."""
_MULTIPLES = (8, 4, 2, 1)
_LARGEST_WIDTH = 64.0
_BISECTIONS = 50


class NoSuchWidth(ValueError):
    """No width gives a network of the wanted size; the message says which sizes there are."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A row of the paper's table: 1×1 to `expanded`, depthwise `kernel`×`kernel`, 1×1 to `channels` without a ReLU.

    The input is added where its shape is the output's. A row that expands nothing has no first convolution.
    """

    kernel: int
    expanded: int
    channels: int
    stride: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MobileNet:
    """A MobileNetV3-like network before its width is chosen; all channels are those of width 1."""

    name: str
    stem_stride: int
    rows: tuple[Bottleneck, ...]
    stem: int = 16
    last: int = 576
    hidden: int | None = 1024


_ROWS = (
    Bottleneck(3, 16, 16, 2),
    Bottleneck(3, 72, 24, 2),
    Bottleneck(3, 88, 24),
    Bottleneck(5, 96, 40, 2),
    Bottleneck(5, 240, 40),
    Bottleneck(5, 240, 40),
    Bottleneck(5, 120, 48),
    Bottleneck(5, 144, 48),
    Bottleneck(5, 288, 96, 2),
    Bottleneck(5, 576, 96),
    Bottleneck(5, 576, 96),
)
_ONE_A_WIDTH = (0, 1, 3, 6, 8)
_HALVING = (0, 1, 3, 8)
"""Rows that halve height and width in the paper, after a stem that does so too."""


def peers(size: int) -> tuple[MobileNet, ...]:
    """The networks to compare with, for square images of `size` pixels.

    | name | what |
    |---|---|
    | v3-small | the paper's rows and head; below 64 pixels, stem and first row keep the pixels, as is usual there |
    | compact | what an expert would make of it at this size: no hidden layer in the head, and below 64 pixels the strides as early as the search space has them |
    | short | compact with one row a width: 5 bottlenecks, not 11 |

    Raises:
        ValueError: fewer than 16 pixels, which leave nothing for the last rows.
    """
    if size < 16:
        raise ValueError(f"size: expected at least 16 pixels, got {size}")
    small = size < 64
    paper = _strided("v3-small", 1 if small else 2, _HALVING[1:] if small else _HALVING)
    compact = _strided("compact", 2, _HALVING[1:-1] if small else _HALVING)
    compact = replace(compact, hidden=None)
    short = replace(compact, name="short", rows=tuple(compact.rows[i] for i in _ONE_A_WIDTH))
    return paper, compact, short


def _strided(name: str, stem_stride: int, halving: tuple[int, ...]) -> MobileNet:
    rows = tuple(replace(row, stride=2 if i in halving else 1) for i, row in enumerate(_ROWS))
    return MobileNet(name=name, stem_stride=stem_stride, rows=rows)


def scaled_to(peer: MobileNet, params: int, *, input_shape: Shape, num_classes: int) -> Network:
    """`peer` with the width at which it has `params` parameters, ± `TOLERANCE`.

    Channels are multiples of 8, as in the paper, or of 4, 2, 1 where the coarser ones miss the size; of the widths
    within the tolerance, the one closest to `params`.

    Raises:
        NoSuchWidth: no width does.
    """
    missed = []
    for multiple in _MULTIPLES:
        around = _around(peer, params, multiple, input_shape, num_classes)
        closest = min(around, key=lambda network: abs(count_params(network) - params))
        if abs(count_params(closest) - params) <= TOLERANCE * params:
            return closest
        missed.append(count_params(closest))
    raise NoSuchWidth(
        f"{peer.name}: expected {params:,} parameters ± {TOLERANCE:.0%}; the closest widths give "
        f"{', '.join(f'{count:,}' for count in missed)}: ask for another size"
    )


def _around(
    peer: MobileNet, params: int, multiple: int, input_shape: Shape, num_classes: int
) -> Iterator[Network]:
    """The largest network with at most `params` parameters (or the smallest of all), and the next larger one."""

    def at(width: float) -> Network:
        return build(peer, width, multiple, input_shape=input_shape, num_classes=num_classes)

    low, high = 0.0, _LARGEST_WIDTH  # the number of parameters never falls with the width
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if count_params(at(middle)) <= params else (low, middle)
    yield at(low)
    yield at(high)


def build(
    peer: MobileNet, width: float, multiple: int, *, input_shape: Shape, num_classes: int
) -> Network:
    """`peer` with all channels multiplied by `width` and rounded to `multiple` (see `rounded`)."""

    def scaled(channels: int) -> int:
        return rounded(channels * width, multiple)

    builder = LayerBuilder(input_shape.channels, "stem")
    stride = peer.stem_stride
    x = builder.conv(INPUT, scaled(peer.stem), kernel=3, stride=stride, activation="relu")
    for number, row in enumerate(peer.rows, start=1):
        builder.block = f"bottleneck{number}"
        x = _append_row(builder, x, row, scaled(row.expanded), scaled(row.channels))
    builder.block = "last"
    x = builder.conv(x, scaled(peer.last), activation="relu")
    builder.block = "head"
    if peer.hidden is None:
        output = builder.classifier(x, num_classes)
    else:
        x = builder.relu(builder.classifier(x, scaled(peer.hidden)))
        output = _append_linear(builder, x, num_classes)
    return Network(
        input_shape=input_shape,
        num_classes=num_classes,
        layers=tuple(builder.layers),
        output=output,
    )


def _append_row(
    builder: LayerBuilder, source: str, row: Bottleneck, expanded: int, channels: int
) -> str:
    x = source
    if expanded != builder.channels(source):
        x = builder.conv(x, expanded, activation="relu")
    x = builder.conv(
        x, expanded, kernel=row.kernel, stride=row.stride, groups=expanded, activation="relu"
    )
    x = builder.conv(x, channels)
    same_shape = row.stride == 1 and channels == builder.channels(source)
    return builder.add((x, source)) if same_shape else x


def _append_linear(builder: LayerBuilder, source: str, num_classes: int) -> str:
    """A linear layer that reads vectors; the builder's own one pools a map first."""
    name = f"n{len(builder.layers)}"
    builder.layers.append(
        Layer(
            name=name,
            op="linear",
            inputs=(source,),
            block=builder.block,
            in_channels=builder.channels(source),
            out_channels=num_classes,
        )
    )
    return name


def rounded(channels: float, multiple: int) -> int:
    """The multiple next to `channels`, at least one, and never less than 90 % of `channels`.

    The rule of the MobileNet papers' own code.
    """
    near = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return near + multiple if near < 0.9 * channels else near
