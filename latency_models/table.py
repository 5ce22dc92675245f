"""Tables of measured results: one row an architecture, read from Parquet or CSV."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from latency_models.errors import TableError

if TYPE_CHECKING:
    import pandas as pd


class MeasuredTable:
    """Numbers by architecture label and column name. What was not measured is None.

    Attributes:
        columns: names of the columns with numbers.
        digest: 16 hex digits over labels and numbers.
    """

    def __init__(self, values: Mapping[str, Mapping[str, float]]) -> None:
        """`values`: column → label → number; all finite. Labels that a column lacks were not measured there."""
        self._values = {column: dict(numbers) for column, numbers in values.items()}
        self.columns = tuple(self._values)
        self.digest = self._make_digest()

    @classmethod
    def read(
        cls,
        path: str | PathLike[str],
        *,
        columns: Sequence[str],
        label_column: str = "arch_str",
    ) -> MeasuredTable:
        """Read the named columns.

        Args:
            path: a .parquet or .csv file.
            columns: columns with numbers; empty cells and NaN mean "not measured".
            label_column: column with each architecture's name.

        Raises:
            TableError: no such file or column, text where numbers should be, or a label twice.
        """
        source = Path(path)
        frame = read_frame(source, list(dict.fromkeys([label_column, *columns])))
        labels = frame[label_column].astype(str).tolist()
        _check_labels(source, label_column, labels)
        return cls(
            {
                column: _numbers(source, column, labels, frame[column].tolist())
                for column in dict.fromkeys(columns)
            }
        )

    def __len__(self) -> int:
        """Architectures for which something was measured."""
        return len(self.labels())

    def labels(self, column: str | None = None) -> tuple[str, ...]:
        """Labels for which `column` (or any column) was measured, in the table's order."""
        if column is not None:
            return tuple(self._column(column))
        return tuple(dict.fromkeys(label for n in self._values.values() for label in n))

    def value(self, label: str, column: str) -> float | None:
        """One number, or None where it was not measured. Raises TableError: no such column."""
        return self._column(column).get(label)

    def rows(self, label: str) -> dict[str, float | None]:
        """All numbers of one architecture, by column."""
        return {column: numbers.get(label) for column, numbers in self._values.items()}

    def range_of(self, column: str) -> tuple[float, float]:
        """(smallest, largest) number of a column. Raises TableError: no such column, or an empty one."""
        numbers = self._column(column).values()
        if not numbers:
            raise TableError(f"column {column} of the table holds no number")
        return min(numbers), max(numbers)

    def _column(self, column: str) -> dict[str, float]:
        if column not in self._values:
            raise TableError(f"the table was read without column {column}; it has {self.columns}")
        return self._values[column]

    def _make_digest(self) -> str:
        digest = hashlib.sha256()
        for column in sorted(self._values):
            digest.update(f"\n{column}\n".encode())
            for label, number in sorted(self._values[column].items()):
                digest.update(f"{label}\t{number!r}\n".encode())
        return digest.hexdigest()[:16]


def column_names(source: Path) -> list[str]:
    """Names of a table's columns. Raises TableError: no such file, or no table."""
    import pandas as pd

    if not source.is_file():
        raise TableError(f"{source}: there is no such file; expected a .parquet or .csv table")
    try:
        if source.suffix == ".parquet":
            import pyarrow.parquet

            return list(pyarrow.parquet.read_schema(source).names)
        if source.suffix == ".csv":
            return [str(name) for name in pd.read_csv(source, nrows=0).columns]
    except (OSError, ValueError) as error:
        raise TableError(f"{source}: cannot be read as a {source.suffix} table: {error}") from error
    raise TableError(f"{source}: expected a file that ends in .parquet or .csv")


def read_frame(source: Path, wanted: list[str]) -> pd.DataFrame:
    """The wanted columns; of a CSV file, the first as text. Raises TableError: no such file or column."""
    import pandas as pd

    _check_columns(source, column_names(source), wanted)
    try:
        if source.suffix == ".parquet":
            return pd.read_parquet(source, columns=wanted)
        return pd.read_csv(source, usecols=wanted, dtype={wanted[0]: str})
    except (OSError, ValueError) as error:
        raise TableError(f"{source}: cannot be read as a {source.suffix} table: {error}") from error


def _check_columns(source: Path, found: Iterable[object], wanted: Sequence[str]) -> None:
    names = [str(name) for name in found]
    for column in wanted:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(names)}"
            raise TableError(f"{source}: there is no column {column}; {hint}")


def _check_labels(source: Path, label_column: str, labels: Sequence[str]) -> None:
    if not labels:
        raise TableError(f"{source}: the table has no rows")
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise TableError(
                f"{source}: {label_column} {label} stands there twice; expected one row an architecture"
            )
        seen.add(label)


def _numbers(
    source: Path, column: str, labels: Sequence[str], cells: Sequence[object]
) -> dict[str, float]:
    numbers = {}
    for label, cell in zip(labels, cells, strict=True):
        if isinstance(cell, bool) or not isinstance(cell, int | float | None):
            raise TableError(f"{source}: {column} of {label} is {cell!r}; expected a number")
        if cell is None or math.isnan(cell):
            continue
        if math.isinf(cell):
            raise TableError(f"{source}: {column} of {label} is {cell}; expected a finite number")
        numbers[label] = float(cell)
    return numbers
