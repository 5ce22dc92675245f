"""``measurements.csv`` as a person filled it in, and each row beside the reference rows around it."""

from __future__ import annotations

import csv
import logging
import math
import re
from bisect import bisect
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from latency_models.errors import SuiteError

LARGEST_CHANGE = 0.15
"""Rows between two references that differ by more are left out."""
LARGEST_GAP = 64
"""Rows from one measured reference to the next, at most."""

_REQUIRED = ("file", "run", "latency_ms")
_OPTIONAL = "energy_mj"
_MAX_BYTES = 20_000_000
_NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LEAST, _MOST = 1e-9, 1e9

_log = logging.getLogger(__name__)


class MeasuredRow(NamedTuple):
    """One filled row; `number` counts from 1, the header among them, as editors do."""

    number: int
    file: str
    run: int
    latency_ms: float
    energy_mj: float | None


class RelativeRow(NamedTuple):
    """A row, and the reference's time in ms at that moment."""

    row: MeasuredRow
    reference_ms: float

    @property
    def ratio(self) -> float:
        """Latency over the reference's."""
        return self.row.latency_ms / self.reference_ms


def read_measurements(path: Path, files: Collection[str]) -> list[MeasuredRow]:
    """The filled rows, in order; rows without a latency are left out.

    Args:
        path: CSV with the columns file, run, latency_ms and, if there are any, energy_mj.
        files: the suite's.

    Raises:
        SuiteError: anything that cannot be what was measured; the message names row and column.
        OSError: it cannot be opened.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise SuiteError(f"{path}: over {_MAX_BYTES} bytes; this is no suite's {path.name}")
    try:
        # utf-8-sig: spreadsheets put a byte order mark first
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(path, csv.reader(file, strict=True), frozenset(files)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SuiteError(f"{path}: expected UTF-8 text with commas, got {error}") from error


def _rows(path: Path, reader: Iterator[list[str]], files: frozenset[str]) -> Iterator[MeasuredRow]:
    columns = _columns(path, next(reader, []))
    seen: dict[tuple[str, int], int] = {}
    for number, cells in enumerate(reader, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}, row {number}"
        row = _row(where, number, dict(_named(where, columns, cells)), files)
        if row is None:
            continue
        earlier = seen.setdefault((row.file, row.run), number)
        if earlier != number:
            raise SuiteError(
                f"{where}: {row.file}, run {row.run} stands in row {earlier} already; give each row of a file "
                "its own run number, or remove one"
            )
        yield row


def _columns(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    expected = (*_REQUIRED, _OPTIONAL)
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        raise SuiteError(
            f"{path}, row 1: expected cells separated by commas, got {names[0]!r}; save the table as "
            "comma-separated values, with points in numbers (0.125)"
        )
    if not set(_REQUIRED) <= set(names) <= set(expected) or len(set(names)) < len(names):
        raise SuiteError(
            f"{path}, row 1: expected the columns {', '.join(expected)} ({_OPTIONAL} may be missing), "
            f"got {', '.join(names) or 'nothing'}"
        )
    return names


def _named(where: str, columns: list[str], cells: list[str]) -> Iterator[tuple[str, str]]:
    if len(cells) != len(columns):
        raise SuiteError(
            f"{where}: expected {len(columns)} cells, got {len(cells)}; write numbers with a point (0.125), not a "
            "comma, and separate cells by commas"
        )
    return zip(columns, (cell.strip() for cell in cells), strict=True)


def _row(
    where: str, number: int, cells: dict[str, str], files: frozenset[str]
) -> MeasuredRow | None:
    """None where nothing was measured."""
    if cells["file"] not in files:
        raise SuiteError(
            f"{where}, column file: {cells['file']!r} is not in this suite; take the names as they were exported"
        )
    if not re.fullmatch(r"[1-9]\d{0,5}", cells["run"], re.ASCII):
        raise SuiteError(
            f"{where}, column run: expected a whole number from 1, got {cells['run']!r}"
        )
    latency_ms = _positive(where, "latency_ms", cells["latency_ms"])
    energy_mj = _positive(where, _OPTIONAL, cells.get(_OPTIONAL, ""))
    if latency_ms is None:
        if energy_mj is not None:
            raise SuiteError(
                f"{where}: an energy without a latency; fill in latency_ms, or empty both"
            )
        return None
    return MeasuredRow(number, cells["file"], int(cells["run"]), latency_ms, energy_mj)


def _positive(where: str, column: str, text: str) -> float | None:
    """The number in a cell; None where it is empty."""
    if not text:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not _LEAST <= value <= _MOST:
        raise SuiteError(
            f"{where}, column {column}: expected a number above 0 such as 0.125, got {text!r}; write it with a "
            "point, and leave the cell empty where nothing was measured"
        )
    return value


def beside_reference(
    rows: Sequence[MeasuredRow], reference: str
) -> tuple[list[RelativeRow], list[MeasuredRow]]:
    """(rows with the reference's time when they were measured, rows left out since that is not known).

    The reference's time is interpolated between the reference rows before and after; beyond the first and the
    last one, it is theirs. Where those two differ by more than 15 %, rows between them are left out.

    Raises:
        SuiteError: a row has no measured reference near it.
    """
    references = [row for row in rows if row.file == reference]
    if len(references) < 2:
        raise SuiteError(
            f"{reference}: expected at least 2 measured rows, got {len(references)}; all other rows are compared "
            f"with the reference, so fill in latency_ms of every {reference}"
        )
    numbers = [row.number for row in references]
    kept: list[RelativeRow] = []
    dropped: list[MeasuredRow] = []
    for row in rows:
        if row.file == reference:
            continue
        at = bisect(numbers, row.number)
        reference_ms = _reference_ms(row, references[max(at - 1, 0) : at + 1])
        if reference_ms is None:
            dropped.append(row)
        else:
            kept.append(RelativeRow(row, reference_ms))
    if dropped:
        _log.warning(
            "%d of %d rows are left out: the reference changed by more than %.0f %% around them. Keep the device "
            "quiet and cool, and measure them again",
            len(dropped),
            len(dropped) + len(kept),
            100 * LARGEST_CHANGE,
        )
    return kept, dropped


def _reference_ms(row: MeasuredRow, around: Sequence[MeasuredRow]) -> float | None:
    """The reference's time at `row`, from one or two rows around it; None if they differ too much."""
    first, last = around[0], around[-1]
    if max(abs(each.number - row.number) for each in around) > LARGEST_GAP:
        raise SuiteError(
            f"row {row.number} ({row.file}): expected a measured {first.file} at most {LARGEST_GAP} rows before and "
            "after it; keep the rows in the order in which they were measured, the reference among them"
        )
    times = (first.latency_ms, last.latency_ms)
    if max(times) / min(times) - 1 > LARGEST_CHANGE:
        return None
    if first is last:
        return first.latency_ms
    share = (row.number - first.number) / (last.number - first.number)
    return first.latency_ms + share * (last.latency_ms - first.latency_ms)
