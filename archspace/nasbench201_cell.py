"""A NAS-Bench-201 cell: four nodes, six edges; its arch string, live edges and canonical form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from archspace.space import Choices, InvalidChoices

CELL_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations, in the order of the benchmark's integer codes."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from node, to node), in the order of the arch string."""

NONE, SKIP = CELL_OPS.index("none"), CELL_OPS.index("skip_connect")

_PATTERN = re.compile(
    r"\|([^|~+]+)~0\|\+\|([^|~+]+)~0\|([^|~+]+)~1\|"
    r"\+\|([^|~+]+)~0\|([^|~+]+)~1\|([^|~+]+)~2\|"
)


def cell_to_str(choices: Sequence[int]) -> str:
    """``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, the benchmark's own text."""
    parts = [f"{CELL_OPS[op]}~{source}|" for op, (source, _) in zip(choices, EDGES, strict=True)]
    return f"|{parts[0]}+|{parts[1]}{parts[2]}+|{parts[3]}{parts[4]}{parts[5]}"


def cell_from_str(text: str) -> Choices:
    """Inverse of `cell_to_str`, strict. Raises InvalidChoices that says what is wrong."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise InvalidChoices(
            f"not a NAS-Bench-201 arch string: {text[:200]!r}; "
            "expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
        )
    return tuple(_op_index(name) for name in match.groups())


def _op_index(name: str) -> int:
    if name in CELL_OPS:
        return CELL_OPS.index(name)
    close = difflib.get_close_matches(name, CELL_OPS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InvalidChoices(f"unknown operation {name!r}{hint} Known: {', '.join(CELL_OPS)}")


def live_edges(choices: Sequence[int]) -> tuple[bool, ...]:
    """Which edges lie on a path of operations other than ``none`` from node 0 to node 3."""
    return tuple(bool(alive) for alive in live_edge_columns(choices))


def live_edge_columns(columns: Sequence[Any]) -> tuple[Any, ...]:
    """`live_edges` of many cells at once: an integer array an edge in, a boolean array an edge out."""
    works = [column != NONE for column in columns]
    reached: list[Any] = [True, False, False, False]
    for alive, (source, target) in zip(works, EDGES, strict=True):
        reached[target] = reached[target] | (alive & reached[source])
    useful: list[Any] = [False, False, False, True]
    for alive, (source, target) in reversed(tuple(zip(works, EDGES, strict=True))):
        useful[source] = useful[source] | (alive & useful[target])
    return tuple(
        alive & reached[source] & useful[target]
        for alive, (source, target) in zip(works, EDGES, strict=True)
    )


def function_key(choices: Sequence[int]) -> str:
    """What the cell computes, as a sum of nested terms: equal for isomorphic cells, dead edges dropped.

    Like `Structure.to_unique_str(consider_zero=True)` of the benchmark's code (Dong and Yang, ICLR 2020), but
    zeros are left out of sums and skip connections merge them: a + (b + c) = (a + b) + c. A surrogate feature
    and diversity key only: cells with equal keys may differ in latency.
    """
    live = live_edges(choices)
    terms: list[list[str]] = [["x"], [], [], []]
    for op, (source, target), alive in zip(choices, EDGES, live, strict=True):
        if not alive:
            continue
        summed = sorted(terms[source])
        terms[target] += summed if op == SKIP else [f"{CELL_OPS[op]}({'+'.join(summed)})"]
    return "+".join(sorted(terms[3])) or "0"


class CellCount(NamedTuple):
    """How many blocks of each sort a cell has."""

    nor_conv_1x1: int
    nor_conv_3x3: int
    avg_pool_3x3: int
    add_of_2: int
    add_of_3: int
    zeros: int


def count_cell(choices: Sequence[int]) -> CellCount:
    """Blocks that are built for the cell: live operations, the sums of nodes, zeros if nothing lives."""
    live = live_edges(choices)
    ops = [op for op, alive in zip(choices, live, strict=True) if alive]
    terms = [0, 0, 0, 0]
    for (_, target), alive in zip(EDGES, live, strict=True):
        terms[target] += alive
    return CellCount(
        nor_conv_1x1=ops.count(CELL_OPS.index("nor_conv_1x1")),
        nor_conv_3x3=ops.count(CELL_OPS.index("nor_conv_3x3")),
        avg_pool_3x3=ops.count(CELL_OPS.index("avg_pool_3x3")),
        add_of_2=terms.count(2),
        add_of_3=terms.count(3),
        zeros=int(not ops),
    )
