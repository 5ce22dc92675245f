"""A checksum in each row of the ledger, and what brings older ledgers up to the present version.

SQLite notices a damaged page by its structure alone: a flipped bit within a number or a text passes. So each row carries a
checksum over its other columns, which is compared whenever the row is read for use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from evaluation.evaluator import EvaluationError
from evaluation.tables import SCHEMA_VERSION, checked_tables, meta_table


class LedgerError(EvaluationError):
    """The ledger cannot be opened, read or written; the message says what to do."""


class LedgerDamaged(LedgerError):
    """What the ledger holds is not what was written."""


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row's columns and their checksum.

    Args:
        values: all columns that have a value; None counts as absent.
    """
    return {**values, "checksum": _checksum(values)}


def check_row(row: sa.Row[Any]) -> None:
    """Raises LedgerDamaged where a row of a `checked_tables` table, with all its columns, is not as it was written."""
    values = dict(row._mapping)
    if values.pop("checksum") != _checksum(values):
        raise LedgerDamaged("a row is not as it was written (its checksum differs)")


def bring_up(connection: sa.Connection, version: str) -> None:
    """From an older version to the present one: fidelities came with 2, checksums with 3, arrivals with 4."""
    if version == "1":  # all of a session's children had its own fidelity
        connection.exec_driver_sql("ALTER TABLE proposals ADD COLUMN fidelity TEXT")
    connection.exec_driver_sql("ALTER TABLE proposals ADD COLUMN arrival INTEGER")
    if version in ("1", "2"):
        _add_checksums(connection)
    newer = sa.update(meta_table).where(meta_table.c.name == "schema_version")
    connection.execute(newer.values(value=str(SCHEMA_VERSION)))


def _add_checksums(connection: sa.Connection) -> None:
    for table in checked_tables:
        connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN checksum VARCHAR(16)")
        for row in connection.execute(sa.select(table)).all():
            values = dict(row._mapping)
            same = [column == values[column.name] for column in table.primary_key]
            update = sa.update(table).where(*same)
            connection.execute(update.values(checksum=_checksum(values)))


def _checksum(values: Mapping[str, Any]) -> str:
    """The first 16 hex digits of SHA-256; a database's own number (`id`) is left out.

    Numbers are hashed as floats: a database gives 1 back as 1, 1.0 or True, by the column.
    """
    present = {
        name: float(value) if isinstance(value, int | float) else value
        for name, value in values.items()
        if value is not None and name not in ("id", "checksum")
    }
    return hashlib.sha256(json.dumps(present, sort_keys=True).encode()).hexdigest()[:16]
