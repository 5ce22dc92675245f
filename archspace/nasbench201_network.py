"""The NAS-Bench-201 macro network around a cell, layer by layer as in the benchmark's code.

Source: Dong and Yang, "NAS-Bench-201", ICLR 2020, section 2.1 and figure 1; `TinyNetwork`, `InferCell`,
`ReLUConvBN` and `ResNetBasicblock` of the authors' AutoDL-Projects.
"""

from __future__ import annotations

from collections.abc import Sequence

from archspace.builder import LayerBuilder
from archspace.nasbench201_cell import CELL_OPS, EDGES, live_edges
from archspace.nasbench201_config import NasBench201SpaceConfig
from archspace.network import INPUT, Network, Shape


def build_network(
    config: NasBench201SpaceConfig, cell: Sequence[int], input_shape: Shape, num_classes: int
) -> Network:
    """Stem, three stages of cells with reduction blocks between them, BatchNorm, ReLU and a linear layer.

    Dead edges and nodes are not built. Each live operation is a block of its own, and so is each node's sum.
    """
    builder = LayerBuilder(input_shape.channels, "stem")
    source = builder.conv(INPUT, config.channels, kernel=3)
    for stage in (1, 2, 3):
        if stage > 1:
            builder.block = f"reduction{stage - 1}"
            source = append_reduction(builder, source)
        for position in range(config.cells_per_stage):
            source = _append_cell(builder, cell, source, f"stage{stage}.cell{position}")
    builder.block = "head"
    logits = append_head(builder, source, num_classes)
    return Network(
        input_shape=input_shape,
        num_classes=num_classes,
        layers=tuple(builder.layers),
        output=logits,
    )


def append_reduction(builder: LayerBuilder, source: str) -> str:
    """Residual block with stride 2 and twice the channels (`ResNetBasicblock`)."""
    channels = 2 * builder.channels(source)
    out = builder.conv(builder.relu(source), channels, kernel=3, stride=2)
    out = builder.conv(builder.relu(out), channels, kernel=3)
    shortcut = builder.avg_pool(source, kernel=2, stride=2, padding=0)
    return builder.add((builder.conv(shortcut, channels, norm=False), out))


def append_head(builder: LayerBuilder, source: str, num_classes: int) -> str:
    return builder.classifier(builder.batch_norm(source, activation="relu"), num_classes)


def append_cell_op(builder: LayerBuilder, op: str, source: str) -> str:
    """Layers of ``nor_conv_1x1``, ``nor_conv_3x3`` (ReLU, convolution, BatchNorm) or ``avg_pool_3x3``."""
    if op == "avg_pool_3x3":
        return builder.avg_pool(source, kernel=3, stride=1, padding=1)
    kernel = 3 if op == "nor_conv_3x3" else 1
    return builder.conv(builder.relu(source), builder.channels(source), kernel=kernel)


def _append_cell(builder: LayerBuilder, cell: Sequence[int], source: str, label: str) -> str:
    live = live_edges(cell)
    if not any(live):
        builder.block = f"{label}.zeros"
        return builder.zeros(source)
    terms: list[list[str]] = [[source], [], [], []]
    nodes = [source, "", "", ""]
    for op, (start, end), alive in zip(cell, EDGES, live, strict=True):
        if not alive:
            continue
        nodes[start] = nodes[start] or _append_sum(builder, terms[start], f"{label}.node{start}")
        builder.block = f"{label}.edge{start}_{end}"
        name = CELL_OPS[op]
        skip = name == "skip_connect"
        terms[end].append(nodes[start] if skip else append_cell_op(builder, name, nodes[start]))
    return _append_sum(builder, terms[3], f"{label}.node3")


def _append_sum(builder: LayerBuilder, terms: list[str], label: str) -> str:
    builder.block = label
    return terms[0] if len(terms) == 1 else builder.add(tuple(terms))
