"""The database that jobs are kept in: a SQLite file in the results folder, or PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from evaluation.database import make_engine, make_url, take_turn
from service.errors import NetlatheError, UsageError
from service.jobs.records import metadata

RESERVE_BYTES = 256 * 1024
"""Room in a database file for some hundred changes."""
_LOG_PAGES = 32


class StoreUnreachable(NetlatheError):
    """The database gives no connection now, or has lost one."""


class JobDatabase:
    """Opened, with its tables. May be used by several processes and threads at once.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://…``.

    Raises:
        UsageError: not a usable URL.
        StoreUnreachable: the database cannot be reached.
        NetlatheError: it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self._where = parsed.database or url
        try:
            self._engine = make_engine(parsed)
        except ImportError as error:
            raise NetlatheError(f"{error}; install netlathe[postgres]") from error
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _keep_log_short)
        with self.transaction(writes=True) as connection:
            take_turn(connection)
            metadata.create_all(connection)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._engine.dispose()

    def reserve(self) -> None:
        """Have room for what a server must still say when the disk is full: only a database that is a file needs that.

        The room is free pages in the file, and a write-ahead log that is long enough and used again and again.

        Raises:
            NetlatheError: there is no room, or the database cannot be reached.
        """
        if not self._is_sqlite:
            return
        with self.transaction(writes=True) as connection:
            connection.exec_driver_sql("CREATE TABLE reserve (bytes BLOB)")
            connection.exec_driver_sql(f"INSERT INTO reserve VALUES (zeroblob({RESERVE_BYTES}))")
            connection.exec_driver_sql("DROP TABLE reserve")
        raw = self._engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").close()
        finally:
            raw.close()

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[sa.Connection]:
        """All of it happens or nothing. Raises NetlatheError where the database is full, StoreUnreachable where it is away."""
        try:
            with self._engine.execution_options(writes=writes).begin() as connection:
                yield connection
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            is_away = isinstance(error, sa.exc.OperationalError) and not self._is_sqlite
            kind = StoreUnreachable if is_away else NetlatheError
            raise kind(f"job store {self._where}: {getattr(error, 'orig', error)}") from error


def _keep_log_short(connection: Any, _: Any) -> None:
    """Begin the write-ahead log anew when it has this many pages: what is overwritten needs no new room."""
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}").close()
