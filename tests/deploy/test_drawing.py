"""Drawings: valid SVG, complete, and no chip on top of another."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspace import Exit, Layer, NasBench201Space, NasBench201SpaceConfig, Network, Shape
from deploy import draw_architecture
from deploy.drawing_layout import START, layout
from deploy.drawing_units import WHOLE, picture

CELLS = NasBench201Space(NasBench201SpaceConfig(), input_shape=Shape(3, 32, 32), num_classes=10)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.text]


def cells(numbers: list[int]) -> Network:
    return CELLS.resolve(tuple(numbers))


@pytest.mark.parametrize("seed", range(3))
def test_every_block_and_exit_is_in_the_picture(sample, seed):
    network = sample(early_exits=True, seed=seed).document.network
    shown = " ".join(texts(draw_architecture(network)))
    for exit_ in network.exits:
        assert exit_.name in shown
    assert "leave if entropy ≤ 0.6" in shown
    units = picture(network).trunk
    assert sum(unit.count for unit in units) + len(network.exits) == len(network.blocks)
    for unit in units:
        assert unit.label in shown


def test_equal_cells_are_drawn_once_with_their_number(cell_network):
    shown = texts(draw_architecture(cell_network.document.network))
    assert [text for text in shown if "cell" in text] == [
        "stage1.cell0  ×2",
        "stage2.cell0  ×2",
        "stage3.cell0  ×2",
    ]


def test_shapes_stand_between_the_cards(cell_network):
    shown = texts(draw_architecture(cell_network.document.network))
    for shape in ("8 × 16 × 16", "16 × 8 × 8", "32 × 4 × 4"):
        assert shape in shown


def test_same_text_each_time_and_nothing_from_elsewhere(with_exits):
    svg = draw_architecture(with_exits.document.network)
    assert svg == draw_architecture(with_exits.document.network)
    assert "href" not in svg
    assert "<script" not in svg
    assert svg.count("http") == 1  # the name space


def test_names_are_escaped(without_exits):
    network = without_exits.document.network
    layers = tuple(replace(layer, block="<script>&") for layer in network.layers)
    assert "<script>" not in draw_architecture(replace(network, layers=layers))


def test_bits_are_shown_where_there_are_fewer_than_32(without_exits):
    network = without_exits.document.network
    assert " bit<" not in draw_architecture(network)
    assert "4 bit<" in draw_architecture(network.with_bits(4))


def test_exit_that_is_off_says_so(with_exits):
    network = with_exits.document.network
    off = network.with_thresholds((0.0,) * len(network.exits))
    unknown = replace(network, exits=tuple(replace(e, threshold=None) for e in network.exits))
    assert "switched off" in texts(draw_architecture(off))
    assert "threshold not chosen yet" in texts(draw_architecture(unknown))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_no_chip_or_line_lies_on_another_chip(numbers):
    for unit in picture(cells(numbers)).trunk:
        arranged = layout(unit)
        at = {(item.row, item.column): name for name, item in arranged.items.items()}
        assert len(at) == len(arranged.items)
        rows = {START: 0} | {name: item.row for name, item in arranged.items.items()}
        for name, item in arranged.items.items():
            assert len(item.lines) == len(item.sources)
            for source, column in item.lines:
                assert rows[source] < item.row
                passed = range(rows[source] + 1, item.row)
                assert all((row, column) not in at for row in passed), (name, source)


def test_axis_carries_the_longest_way(cell_network):
    for unit in picture(cell_network.document.network).trunk:
        arranged = layout(unit)
        axis = sorted(item.row for item in arranged.items.values() if item.column == 0)
        assert axis[-1] == arranged.rows
        assert all(later > earlier for earlier, later in pairwise(axis))


def test_network_of_tangled_blocks_is_drawn_as_one():
    def conv(name: str, source: str, block: str) -> Layer:
        return Layer(
            name=name, op="conv", inputs=(source,), block=block, in_channels=3, out_channels=3
        )

    def head(name: str, source: str, block: str) -> tuple[Layer, Layer]:
        pool = Layer(
            name=f"{name}p",
            op="global_avg_pool",
            inputs=(source,),
            block=block,
            in_channels=3,
            out_channels=3,
        )
        return pool, Layer(
            name=name, op="linear", inputs=(pool.name,), block=block, in_channels=3, out_channels=2
        )

    both = Layer(name="s", op="add", inputs=("a", "c"), block="two", in_channels=3, out_channels=3)
    layers = (
        conv("a", "input", "one"),
        conv("b", "a", "one"),
        conv("c", "b", "two"),
        *head("e", "b", "early"),
        both,
        *head("h", "s", "head"),
    )
    network = Network(
        input_shape=Shape(3, 8, 8),
        num_classes=2,
        layers=layers,
        output="h",
        exits=(Exit(name="early", layer="e", threshold=0.5),),
    )
    assert [unit.label for unit in picture(network).trunk] == [WHOLE]
    chips = texts(draw_architecture(network))
    assert chips.count("conv 1×1") == 3
    assert chips.count("pool → linear") == 2


def test_random_staged_networks_fit_on_the_page(sample):
    for seed in range(8):
        svg = draw_architecture(sample(early_exits=bool(seed % 2), seed=seed).document.network)
        root = ElementTree.fromstring(svg)
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        boxes = [element.attrib for element in root.iter() if element.tag.endswith("rect")]
        for box in boxes:
            x, y = float(box.get("x", 0)), float(box.get("y", 0))
            assert x >= 0
            assert x + float(box["width"]) <= width
            assert y + float(box["height"]) <= height
        assert np.isfinite([width, height]).all()
