"""The NAS-Bench-201 space against the benchmark's published figures."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest

from archspace import (
    CELL_OPS,
    Block,
    InvalidChoices,
    NasBench201Space,
    NasBench201SpaceConfig,
    Shape,
    SpaceError,
)
from archspace.nasbench201_cell import live_edges
from child_models.counts import count_macs, count_params

NONE, SKIP, CONV1, CONV3, POOL = range(5)
SMALL = NasBench201SpaceConfig(channels=4, cells_per_stage=2)


def test_arch_strings_go_both_ways() -> None:
    space = NasBench201Space()
    text = (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    choices = (POOL, CONV1, SKIP, CONV1, SKIP, SKIP)
    assert space.from_arch_str(text) == choices
    assert space.arch_str(choices) == text
    assert space.architecture(choices).label == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a NAS-Bench-201 arch string"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|\n", "not a NAS"),
        ("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", "not a NAS"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|", "not a NAS"),
        ("|non~0|+|none~0|none~1|+|none~0|none~1|none~2|", "did you mean 'none'"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|", "unknown operation 'conv'"),
    ],
)
def test_bad_arch_strings_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidChoices, match=message):
        NasBench201Space().from_arch_str(text)


def test_the_macro_network_is_the_papers() -> None:
    network = NasBench201Space().resolve((CONV3, NONE, NONE, NONE, CONV1, NONE))
    names = [block.name for block in network.blocks]
    assert names[:3] == ["stem", "stage1.cell0.edge0_1", "stage1.cell0.edge1_3"]
    assert len(names) == 1 + 3 * 5 * 2 + 2 + 1
    by_block = {block.name: block for block in network.blocks}
    edge = by_block["stage2.cell4.edge0_1"]
    assert edge.input_shape == Shape(32, 16, 16)
    assert [(x.op, x.kernel, x.norm) for x in edge.layers] == [
        ("relu", 1, False),
        ("conv", 3, True),
    ]
    reduction = by_block["reduction2"]
    assert [x.op for x in reduction.layers] == [
        "relu",
        "conv",
        "relu",
        "conv",
        "avg_pool",
        "conv",
        "add",
    ]
    assert [x.norm for x in reduction.layers if x.op == "conv"] == [True, True, False]
    assert network.shapes[reduction.layers[-1].name] == Shape(64, 8, 8)
    head = by_block["head"]
    assert [x.op for x in head.layers] == ["batch_norm", "global_avg_pool", "linear"]
    assert network.layers[0].activation == "none"


def test_dead_edges_are_not_built() -> None:
    space = NasBench201Space()
    # node 1 is fed but read by nobody; node 2 is read but never fed
    network = space.resolve((CONV3, NONE, NONE, CONV1, NONE, CONV3))
    alone = space.resolve((NONE, NONE, NONE, CONV1, NONE, NONE))
    assert network == alone
    first = space.architecture((CONV3, NONE, NONE, CONV1, NONE, CONV3))
    assert first.digest != space.architecture((NONE, NONE, NONE, CONV1, NONE, NONE)).digest


def test_a_cell_without_a_live_path_gives_zeros() -> None:
    network = NasBench201Space(SMALL).resolve((CONV3, CONV3, CONV3, NONE, NONE, NONE))
    zeros = [x for x in network.layers if x.op == "zeros"]
    assert [x.block for x in zeros][:2] == ["stage1.cell0.zeros", "stage1.cell1.zeros"]
    assert len(zeros) == 6
    assert network.shapes[network.output] == Shape(10, 1, 1)


def test_skip_connections_feed_the_same_map_to_a_sum() -> None:
    network = NasBench201Space(SMALL).resolve((SKIP, SKIP, SKIP, CONV1, NONE, SKIP))
    cell = [x for x in network.layers if x.block.startswith("stage1.cell0")]
    assert [(x.op, x.inputs, x.block) for x in cell] == [
        ("relu", ("n0",), "stage1.cell0.edge0_3"),
        ("conv", ("n1",), "stage1.cell0.edge0_3"),
        ("add", ("n0", "n0"), "stage1.cell0.node2"),
        ("add", ("n2", "n3"), "stage1.cell0.node3"),
    ]


def test_live_edges_agree_with_a_search_for_paths() -> None:
    paths = [(0, 4), (0, 2, 5), (1, 5), (3,)]  # edges of each path from node 0 to node 3
    for cell in itertools.product((NONE, CONV1), repeat=6):
        alive = {e for path in paths if all(cell[e] for e in path) for e in path}
        assert live_edges(cell) == tuple(e in alive for e in range(6))


def test_function_keys_merge_what_the_benchmarks_own_code_merges() -> None:
    space = NasBench201Space()
    keys: dict[str, str] = {}
    for cell in itertools.product(range(5), repeat=6):
        key = space.function_key(cell)
        assert keys.setdefault(_unique_str(cell), key) == key
    assert len(keys) == 6466  # the paper's number
    assert len(set(keys.values())) == 4930


def _unique_str(cell: tuple[int, ...]) -> str:
    """`Structure.to_unique_str(consider_zero=True)` of AutoDL-Projects, re-told."""
    nodes = ["0"]
    for edges in ((0,), (1, 2), (3, 4, 5)):
        terms = []
        for source, edge in enumerate(edges):
            zero = cell[edge] == NONE or nodes[source] == "#"
            applied = f"({nodes[source]})@{CELL_OPS[cell[edge]]}"
            terms.append("#" if zero else nodes[source] if cell[edge] == SKIP else applied)
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_minimum_cost_is_exact(sign: float) -> None:
    space = NasBench201Space(SMALL, input_shape=Shape(1, 8, 8), num_classes=3)

    def block_cost(block: Block) -> float:
        work = sum(x.kernel**2 * x.out_channels for x in block.layers)
        return sign * work * block.input_shape.height * math.sqrt(len(block.signature))

    rng = np.random.default_rng(0)
    prefix = tuple(int(x) for x in rng.integers(0, 5, 3))
    totals: dict[tuple[int, ...], float] = {}
    for rest in itertools.product(range(5), repeat=3):
        cell = (*prefix, *rest)
        total = math.fsum(block_cost(block) for block in space.resolve(cell).blocks)
        for length in range(3, 7):
            totals[cell[:length]] = min(totals.get(cell[:length], math.inf), total)
    for partial, expected in totals.items():
        assert space.minimum_cost(partial, block_cost) == pytest.approx(expected)
    best = space.cheapest(block_cost)
    total = math.fsum(block_cost(block) for block in space.resolve(best).blocks)
    assert space.minimum_cost((), block_cost) == pytest.approx(total)


def test_bad_shapes_and_choices_are_refused() -> None:
    with pytest.raises(SpaceError, match="multiples of 4, got 30×32"):
        NasBench201Space(input_shape=Shape(3, 30, 32))
    space = NasBench201Space()
    with pytest.raises(InvalidChoices, match=r"cell\.edge0_2: expected a choice in 0–4, got 5"):
        space.mask((0, 5))
    with pytest.raises(InvalidChoices, match="all 6 decisions"):
        space.mask((0,) * 6)
    with pytest.raises(InvalidChoices, match="at most 6"):
        space.minimum_cost((0,) * 7, lambda _: 1.0)


def test_size_counts_arch_strings() -> None:
    size = NasBench201Space().size()
    assert (size.sequences, size.distinct_low, size.distinct_high) == (15625,) * 3


def test_published_parameters_and_flops_are_reproduced() -> None:
    """The benchmark's figures are MACs of convolutions and the linear layer plus its 10 biases.

    It built dead edges, too: what they cost is in its figures, so cells that have any are left out here.
    """
    path = Path(os.environ.get("NETLATHE_BENCH_DATA", "../shared/data")) / "nb201_dev.parquet"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["arch_str", "flops_m_c10", "params_m_c10"]
    table = parquet.read_table(path, columns=columns).to_pylist()
    space = NasBench201Space()
    compared = 0
    for row in table[::25]:
        cell = space.from_arch_str(row["arch_str"])
        if any(op >= CONV1 and not alive for op, alive in zip(cell, live_edges(cell), strict=True)):
            continue
        network = space.resolve(cell)
        assert count_params(network) == round(row["params_m_c10"] * 1e6)
        assert count_macs(network) + network.num_classes == round(row["flops_m_c10"] * 1e6)
        compared += 1
    assert compared > 300
