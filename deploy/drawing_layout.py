"""Where a unit's operations stand: rows by longest path, columns by branch, the longest branch on the axis."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from archspace import Layer
from deploy.drawing_units import Unit

START = "start"
"""The unit's input: row 0, column 0."""


@dataclass(slots=True)
class Item:
    """One chip: a layer, with a ReLU or a pooling before it that only it reads drawn into it.

    `column` 0 is the axis; `lines` are its inputs: (source item's name, column in which the line runs).
    """

    layer: Layer
    before: Layer | None
    sources: tuple[str, ...]
    row: int = 0
    column: int = 0
    lines: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Layout:
    """`items` by name in order; `wide` holds the columns that have chips, others carry lines only."""

    items: dict[str, Item]
    rows: int
    columns: int
    wide: frozenset[int]


def layout(unit: Unit) -> Layout:
    """Rows and columns of a unit's items; no line runs through a chip."""
    items = _items(unit)
    rows = {START: 0}
    for name, item in items.items():
        rows[name] = item.row = 1 + max(rows[source] for source in item.sources)
    columns = _place(items, rows)
    wide = frozenset(item.column for item in items.values() if item.layer.op != "add")
    return Layout(items, max(rows.values()), columns, wide)


def _items(unit: Unit) -> dict[str, Item]:
    own = {layer.name: layer for layer in unit.layers}
    readers: dict[str, list[str]] = {}
    for layer in unit.layers:
        for source in layer.inputs:
            readers.setdefault(source, []).append(layer.name)
    items: dict[str, Item] = {}
    for layer in unit.layers:
        if _joins_next(layer, unit, own, readers):
            continue
        first = own.get(layer.inputs[0])
        before = first if first and _joins_next(first, unit, own, readers) else None
        inputs = before.inputs if before else layer.inputs
        sources = tuple(source if source in own else START for source in inputs)
        items[layer.name] = Item(layer, before, sources)
    return items


def _joins_next(
    layer: Layer, unit: Unit, own: dict[str, Layer], readers: dict[str, list[str]]
) -> bool:
    """Whether `layer` is drawn into the one that reads it: ReLU into conv, pooling into linear."""
    following = readers.get(layer.name, [])
    if layer.name == unit.output or len(following) != 1:
        return False
    if own.get(layer.inputs[0]) is not None and own[layer.inputs[0]].op == "relu":
        return False
    pair = (layer.op, own[following[0]].op)
    return pair in (("relu", "conv"), ("global_avg_pool", "linear"))


def _place(items: dict[str, Item], rows: dict[str, int]) -> int:
    """Give every item and every line a column; returns how many columns there are."""
    free = _Columns()
    readers = _readers(items)
    placed = {START}
    waiting = [(source, name) for name, item in items.items() for source in item.sources]
    while waiting:
        # The longest branch that starts at something placed; the first of equals.
        branches = [_branch(line, readers, placed) for line in waiting if line[0] in placed]
        branch = max(branches, key=lambda names: rows[names[-1]] - rows[names[0]])
        last = rows[branch[-1]] - (1 if branch[-1] in placed else 0)
        column = free.take(rows[branch[0]] + 1, last) if last > rows[branch[0]] else 0
        for source, name in pairwise(branch):
            waiting.remove((source, name))
            items[name].lines.append((source, column))
            if name not in placed:
                items[name].column = column
                placed.add(name)
    return free.number


def _readers(items: dict[str, Item]) -> dict[str, list[str]]:
    """Item → the items that read it, those with the longest way to the end first."""
    readers: dict[str, list[str]] = {name: [] for name in (START, *items)}
    length: dict[str, int] = {}
    for name, item in reversed(items.items()):
        readers[name].sort(key=lambda reader: -length[reader])
        length[name] = 1 + max((length[reader] for reader in readers[name]), default=0)
        for source in item.sources:
            readers[source].insert(0, name)
    return readers


def _branch(line: tuple[str, str], readers: dict[str, list[str]], placed: set[str]) -> list[str]:
    """Names along a branch that begins with `line`: the long way on, until something placed."""
    branch = list(line)
    while branch[-1] not in placed and readers[branch[-1]]:
        branch.append(readers[branch[-1]][0])
    return branch


class _Columns:
    """Which rows of each column are taken."""

    def __init__(self) -> None:
        self._taken: list[set[int]] = []

    @property
    def number(self) -> int:
        return len(self._taken)

    def take(self, first: int, last: int) -> int:
        """The nearest column that is free from row `first` to `last`; takes it."""
        wanted = set(range(first, last + 1))
        for column, taken in enumerate(self._taken):
            if not taken & wanted:
                taken |= wanted
                return column
        self._taken.append(wanted)
        return len(self._taken) - 1
