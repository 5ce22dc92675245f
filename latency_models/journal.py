"""Measurements of a profile that is under way, so that a killed one goes on where it stopped.

One JSON object a line, appended and flushed to the disk as it comes; a last line that was torn is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latency_models.cost import Cost
from latency_models.errors import JournalMismatch, MeasuringFailed
from latency_models.measuring import Measurement

Result = Measurement | MeasuringFailed


class MeasuringJournal:
    """Records by their number, in the order in which they were written.

    Args:
        path: of the file; made when the first record comes.
        header: what is profiled and how. A file with another one is not gone on with.

    Raises:
        JournalMismatch: the file belongs to another profile.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self._header = json.loads(json.dumps(header))
        self._records = self._read()
        self._next = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def elapsed_s(self) -> float:
        """Seconds that had been spent when the last record was written."""
        return self._elapsed_s(len(self._records))

    @property
    def replayed_s(self) -> float | None:
        """Seconds that had been spent at the last replayed record; None when all are replayed."""
        return self._elapsed_s(self._next) if self._next < len(self._records) else None

    def _elapsed_s(self, count: int) -> float:
        return float(self._records[count - 1]["elapsed_s"]) if count else 0.0

    def comes_next(self, what: Sequence[str]) -> bool:
        """Whether the next record to be replayed is of `what`."""
        return self.replayed_s is not None and self._records[self._next]["what"] == list(what)

    def replay(self, what: Sequence[str]) -> Any | None:
        """The next record's content, if it was written before; None where it must be measured now.

        Raises:
            JournalMismatch: the next record is of something else than `what`.
        """
        if self.replayed_s is None:
            return None
        record = self._records[self._next]
        if not self.comes_next(what):
            raise JournalMismatch(
                f"{self.path}: record {self._next} is of other networks; delete the file to begin anew"
            )
        self._next += 1
        return record["content"]

    def add(self, what: Sequence[str], content: Any, elapsed_s: float) -> None:
        """Write a record; it is on the disk when this returns."""
        record = {"what": list(what), "content": content, "elapsed_s": elapsed_s}
        lines = [] if self._records else [self._header]
        self._append([*lines, record])
        self._records.append(record)
        self._next = len(self._records)

    def delete(self) -> None:
        """The profile is finished."""
        self.path.unlink(missing_ok=True)

    def _append(self, values: Sequence[Any]) -> None:
        with self.path.open("a" if self._records else "w", encoding="utf-8") as file:
            file.writelines(json.dumps(value) + "\n" for value in values)
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        whole = self.path.read_bytes().rpartition(b"\n")[0]
        try:
            values = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise JournalMismatch(
                f"{self.path}: expected the journal of a profile, got something else ({error})"
            ) from error
        if not values:
            return []
        if values[0] != self._header:
            raise JournalMismatch(
                f"{self.path} belongs to a profile of another space, device or budget; delete it to begin anew"
            )
        self.path.write_bytes(
            whole + b"\n"
        )  # without a torn last line, so that more can be appended
        return values[1:]


def results_to_json(results: Sequence[Result]) -> list[Any]:
    """Measurements as objects, failures as their text."""
    return [str(r) if isinstance(r, MeasuringFailed) else asdict(r) for r in results]


def results_from_json(values: Sequence[Any]) -> list[Result]:
    """Inverse of `results_to_json`."""
    return [
        MeasuringFailed(value)
        if isinstance(value, str)
        else Measurement(**{**value, "latency": Cost(**value["latency"])})
        for value in values
    ]
