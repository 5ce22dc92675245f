"""How much a ledger's file must hold, kept beside it: rows that are gone leave no trace in SQLite itself.

A file that was emptied is a good database, and a damaged write-ahead log ends for SQLite at the damage. Without the count, a search
that is gone on with would train again, without a word, what was paid for.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

from evaluation.row_checks import LedgerDamaged, with_checksum

_log = logging.getLogger(__name__)


class Counts(NamedTuple):
    """Rows of a ledger."""

    proposals: int = 0
    finished: int = 0
    """Proposals that have their outcome."""
    records: int = 0

    def __str__(self) -> str:
        return f"{self.proposals} proposals ({self.finished} finished) and {self.records} records"


class HighWaterMark:
    """The counts after the last commits, in ``<ledger>-mark.json``.

    It is written after the commit that it counts, so it is never ahead of the ledger. It may be behind: after a kill in
    between, or a power cut (it is not synced: a commit must not wait for the disk twice).

    Args:
        ledger: the database's file.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(f"{ledger.stem}-mark.json")
        self._failed = False

    def check(self, found: Counts) -> None:
        """Raises LedgerDamaged where the ledger holds less than was written."""
        expected = self._read()
        if expected is None or all(f >= e for f, e in zip(found, expected, strict=True)):
            return
        raise LedgerDamaged(
            f"{self.path.name} says that {expected} were written, but there are {found}: the file was emptied or replaced, or "
            f"its write-ahead log (-wal) was damaged or lost (to go on with what is there, and train again what is not, delete "
            f"{self.path})"
        )

    def write(self, counts: Counts) -> None:
        """Replace the counts. A file that cannot be written is no error: an older one holds, too."""
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            temporary.write_text(json.dumps(with_checksum(counts._asdict())) + "\n")
            temporary.replace(self.path)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _log.warning("%s is behind: %s", self.path, error)
            self._failed = True

    def _read(self) -> Counts | None:
        """None where there is none, or one that was damaged itself: it takes nothing but the check along."""
        try:
            values = json.loads(self.path.read_bytes())
            checksum = values.pop("checksum")
            if with_checksum(values)["checksum"] == checksum:
                return Counts(**values)
            error: Exception = ValueError("its checksum differs")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as failure:
            error = failure
        _log.warning(
            "%s cannot be read, so rows that are missing go unnoticed: %s", self.path, error
        )
        return None
