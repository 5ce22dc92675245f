"""Codes and groups against hand counts."""

from __future__ import annotations

import numpy as np
import pytest

from archspace import NasBench201Space, Shape, StagedSpace, StagedSpaceConfig, live_edge_columns
from archspace.nasbench201_cell import live_edges
from latency_models.choices.encoding import ChoiceEncoding, summed

CELLS = NasBench201Space()


def cell(text: str) -> tuple[int, ...]:
    return CELLS.from_arch_str(text)


def test_a_cells_features_are_what_one_counts_by_hand() -> None:
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
    dead_end = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|none~2|"
    encoding = ChoiceEncoding(CELLS)
    codes = encoding.codes(np.array([cell(text), cell(dead_end)]))
    counts = summed(encoding.groups["counts"], codes)
    assert counts.tolist() == [[3, 1, 0, 2, 0], [3, 1, 1, 1, 0]]
    live = summed(encoding.groups["live counts"], codes)  # nothing that ends nowhere
    assert live.tolist() == [[0, 1, 0, 2, 0], [0, 0, 1, 0, 0]]
    choices = summed(encoding.groups["choices"], codes)
    assert choices.sum(axis=1).tolist() == [6, 6]
    assert choices[0].reshape(6, 5).argmax(axis=1).tolist() == list(cell(text))
    assert summed(encoding.groups["live choices"], codes).sum(axis=1).tolist() == [3, 1]
    nodes = summed(encoding.groups["live nodes"], codes)
    assert nodes.tolist() == [[1, 1, 1], [0, 0, 1]]
    pairs = summed(encoding.groups["pairs"], codes)
    assert pairs.shape == (2, 15 * 25)
    assert pairs.sum(axis=1).tolist() == [15, 15]


def test_many_cells_at_once_have_the_live_edges_of_each() -> None:
    rng = np.random.default_rng(0)
    choices = rng.integers(0, 5, (500, 6))
    columns = np.stack(live_edge_columns(list(choices.T)), axis=1)
    assert [tuple(row) for row in columns.tolist()] == [live_edges(row) for row in choices.tolist()]


def test_a_cell_that_computes_nothing_has_no_live_node() -> None:
    encoding = ChoiceEncoding(CELLS)
    codes = encoding.codes(np.array([[3, 3, 3, 0, 0, 0]]))  # nothing leads to the last node
    for name in ("live counts", "live choices", "live nodes"):
        assert not summed(encoding.groups[name], codes).any()


def test_narrow_integers_do_not_overflow() -> None:
    choices = np.random.default_rng(0).integers(0, 5, (50, 6))
    encoding = ChoiceEncoding(CELLS)
    assert (encoding.codes(choices.astype(np.int8)) == encoding.codes(choices)).all()


def test_other_spaces_count_decisions_that_offer_the_same_together() -> None:
    config = StagedSpaceConfig.model_validate(
        {"stem_channels": 8, "stages": [{"channels": 8, "layers": 2, "stride": 2}] * 2}
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    encoding = ChoiceEncoding(space)
    rng = np.random.default_rng(1)
    choices = np.array([space.sample(rng) for _ in range(20)])
    counts = summed(encoding.groups["counts"], encoding.codes(choices))
    offers = [decision.choices for decision in space.decisions]
    shared = [offer for offer in offers if offers.count(offer) > 1]
    assert counts.sum(axis=1).tolist() == [len(shared)] * 20
    assert "live counts" not in encoding.groups


@pytest.mark.parametrize("choices", [[[0] * 5], [[0] * 5 + [5]], [[-1] + [0] * 5], [0] * 6])
def test_choices_that_there_are_not(choices: list[object]) -> None:
    with pytest.raises(ValueError, match="expected choices"):
        ChoiceEncoding(CELLS).codes(np.array(choices))


def test_wide_tables_add_up_the_same() -> None:
    rng = np.random.default_rng(0)
    table, codes = rng.normal(size=(9, 1500)), rng.integers(0, 9, (20, 4))
    narrow = np.column_stack([summed(table[:, :700], codes), summed(table[:, 700:], codes)])
    assert summed(table, codes) == pytest.approx(narrow)
