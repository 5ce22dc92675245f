"""A table of measured architectures, one row each, as choices and columns of costs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from archspace import Decision, InvalidChoices, NasBench201Space, SearchSpace
from latency_models.choices.encoding import Choices, Floats
from latency_models.errors import TableError
from latency_models.table import column_names, read_frame

ARCH_STR = "arch_str"


@dataclass(frozen=True)
class ChoiceTable:
    """Measured architectures.

    Attributes:
        choices: (architectures, decisions) indices, no row twice.
        columns: name → (architectures,) costs > 0; NaN where one was not measured.
    """

    choices: Choices
    columns: Mapping[str, Floats]

    @classmethod
    def read(
        cls, path: str | PathLike[str], space: SearchSpace, columns: Sequence[str]
    ) -> ChoiceTable:
        """Read the named columns of a Parquet or CSV file.

        Architectures are named by ``arch_str`` (NAS-Bench-201), or by a column for each of the space's decisions,
        holding its choices as the space writes them.

        Raises:
            TableError: no such file or column, an architecture that the space does not have or that stands there
                twice, or a cost that is not a number above 0.
        """
        source = Path(path)
        names = _naming_columns(source, space)
        frame = read_frame(source, [*names, *dict.fromkeys(columns)])
        if frame.empty:
            raise TableError(f"{source}: the table has no rows")
        if names == [ARCH_STR]:
            assert isinstance(space, NasBench201Space)
            labels = frame[ARCH_STR].astype(str).tolist()
            choices = _parsed(source, space, labels)
        else:
            labels = [f"row {row + 1}" for row in range(len(frame))]
            choices = _chosen(source, space.decisions, frame)
        _check_repeats(source, choices, labels)
        return cls(
            choices,
            {name: _costs(source, name, labels, frame[name].tolist()) for name in columns},
        )


def _naming_columns(source: Path, space: SearchSpace) -> list[str]:
    """The columns that say which architecture a row is."""
    found = column_names(source)
    decisions = [decision.name for decision in space.decisions]
    if isinstance(space, NasBench201Space):
        if ARCH_STR in found:
            return [ARCH_STR]
        if not set(decisions) & set(found):
            raise TableError(
                f"{source}: there is neither a column {ARCH_STR} nor one for each decision "
                f"({', '.join(decisions)}); it has {', '.join(found)}"
            )
    return decisions


def _parsed(source: Path, space: NasBench201Space, labels: Sequence[str]) -> Choices:
    rows = []
    for number, label in enumerate(labels):
        try:
            rows.append(space.from_arch_str(label))
        except InvalidChoices as error:
            raise TableError(f"{source}, row {number + 1}: {error}") from error
    return np.array(rows, dtype=np.intp)


def _chosen(source: Path, decisions: Sequence[Decision], frame: pd.DataFrame) -> Choices:
    columns = []
    for decision in decisions:
        index: dict[object, int] = {choice: i for i, choice in enumerate(decision.choices)}
        # CSV has no types: what reads the same as a choice is that choice
        index |= {str(choice): i for i, choice in enumerate(decision.choices)}
        columns.append(
            [
                _index(source, decision, index, row, cell)
                for row, cell in enumerate(frame[decision.name].tolist())
            ]
        )
    return np.array(columns, dtype=np.intp).T.reshape(len(frame), len(decisions))


def _index(
    source: Path, decision: Decision, index: Mapping[object, int], row: int, cell: object
) -> int:
    found = index.get(cell, index.get(str(cell)))
    if found is None:
        known = [str(choice) for choice in decision.choices]
        close = difflib.get_close_matches(str(cell), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise TableError(
            f"{source}, row {row + 1}: {decision.name} is {cell!r}; {hint}expected one of {', '.join(known)}"
        )
    return found


def _check_repeats(source: Path, choices: Choices, labels: Sequence[str]) -> None:
    seen: dict[tuple[int, ...], int] = {}
    for row, chosen in enumerate(map(tuple, choices.tolist())):
        first = seen.setdefault(chosen, row)
        if first != row:
            raise TableError(
                f"{source}: {labels[row]} (row {row + 1}) stands in row {first + 1} already; expected one row "
                "an architecture"
            )


def _costs(source: Path, column: str, labels: Sequence[str], cells: Sequence[object]) -> Floats:
    costs = np.full(len(cells), np.nan)
    for row, (label, cell) in enumerate(zip(labels, cells, strict=True)):
        if cell is None or cell != cell:  # NaN: not measured
            continue
        cost = _number(cell)
        if not 0 < cost < float("inf"):
            raise TableError(
                f"{source}: {column} of {label} is {cell!r}; expected a number above 0 and finite; leave the "
                "cell empty where nothing was measured"
            )
        costs[row] = cost
    if not np.isfinite(costs).any():
        raise TableError(f"{source}: column {column} holds no number")
    return costs


def _number(cell: object) -> float:
    """The cell as a number, 0 where it is none: one wrong cell makes a CSV column text."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return 0.0
    try:
        return float(cell)
    except ValueError:
        return 0.0
