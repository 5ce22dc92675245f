"""How one operation looks: its words and its colours."""

from __future__ import annotations

from dataclasses import dataclass

from archspace import Layer
from deploy import svg
from deploy.drawing_layout import Item

CHIP_WIDTH = 170.0
CHIP_HEIGHT = 40.0
SUM_RADIUS = 11.0

_COLOURS = {
    "depthwise": ("#e0f4f1", "#5fb3a5"),
    "grouped": ("#efe8fb", "#a58bd3"),
    "conv": ("#e3eefc", "#7aa7e0"),
    "pointwise": ("#f0f5fc", "#a9c1de"),
    "pool": ("#fdf1dc", "#dcae5c"),
    "head": ("#e6f4e2", "#83ba74"),
    "other": ("#eef1f4", "#b3bdc8"),
}
"""Kind → (ground, edge)."""


@dataclass(frozen=True, slots=True)
class Words:
    """What stands on a chip."""

    kind: str
    title: str
    details: str


def words(item: Item) -> Words:
    """Kind, title and details of an item."""
    layer = item.layer
    if layer.op == "conv":
        return Words(_conv_kind(layer), _conv_title(layer), _conv_details(item))
    if layer.op == "linear":
        title = "pool → linear" if item.before else "linear"
        classes = f"{layer.in_channels} → {layer.out_channels} classes"
        bits = _bits(layer)
        return Words("head", title, f"{classes} · {bits}" if bits else classes)
    if layer.op == "avg_pool":
        stride = f"stride {layer.stride}" if layer.stride > 1 else ""
        return Words("pool", f"average pool {layer.kernel}×{layer.kernel}", stride)
    titles = {
        "batch_norm": "BatchNorm",
        "relu": "ReLU",
        "global_avg_pool": "global average pool",
        "zeros": "zeros",
        "add": "sum",
    }
    kind = "pool" if layer.op == "global_avg_pool" else "other"
    return Words(kind, titles[layer.op], "ReLU" if layer.activation == "relu" else "")


def _conv_kind(layer: Layer) -> str:
    if layer.groups == layer.in_channels and layer.groups > 1:
        return "depthwise"
    if layer.groups > 1:
        return "grouped"
    return "pointwise" if layer.kernel == 1 else "conv"


def _conv_title(layer: Layer) -> str:
    names = {"depthwise": "depthwise", "grouped": f"conv, {layer.groups} groups"}
    return f"{names.get(_conv_kind(layer), 'conv')} {layer.kernel}×{layer.kernel}"


def _conv_details(item: Item) -> str:
    layer = item.layer
    changes = layer.in_channels != layer.out_channels
    return " · ".join(
        part
        for part in (
            "ReLU first" if item.before else "",
            f"{layer.in_channels} → {layer.out_channels}"
            if changes
            else f"{layer.out_channels} ch",
            f"/{layer.stride}" if layer.stride > 1 else "",
            "BN" if layer.norm else "",
            "ReLU" if layer.activation == "relu" else "",
            _bits(layer),
        )
        if part
    )


def _bits(layer: Layer) -> str:
    return "" if layer.bits == 32 else f"{layer.bits} bit"


def draw_chip(item: Item, x: float, y: float) -> list[str]:
    """The item centred at (x, y); a sum is a small circle."""
    shown = words(item)
    ground, edge = _COLOURS[shown.kind]
    if item.layer.op == "add":
        note = [svg.text(x + 17, y + 4, "ReLU", size=10, anchor="start", colour=svg.MUTED)]
        return [
            svg.circle(x, y, SUM_RADIUS, fill="#ffffff", edge=svg.MUTED),
            svg.text(x, y + 5, "+", size=15),
            *(note if item.layer.activation == "relu" else []),
        ]
    chip = svg.box(
        x - CHIP_WIDTH / 2, y - CHIP_HEIGHT / 2, CHIP_WIDTH, CHIP_HEIGHT, fill=ground, edge=edge
    )
    if not shown.details:
        return [chip, svg.text(x, y + 4.5, shown.title, size=12.5)]
    return [
        chip,
        svg.text(x, y - 3, shown.title, size=12.5),
        svg.text(x, y + 12.5, shown.details, size=10.5, colour=svg.MUTED),
    ]
