"""Connections to the databases that a ledger, shared results and jobs are kept in: SQLite files, or PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import sqlalchemy as sa

from evaluation.row_checks import LedgerError

BUSY_TIMEOUT_S = 10.0
"""For which a writer waits for another one."""
_MAKING_TABLES = 0x6E6C7372
"""Of PostgreSQL's lock under which tables are made."""


def check_storage(url: str, *, multi_node: bool) -> None:
    """Refuse a ledger on one machine's disk where the search may move between machines.

    Raises:
        LedgerError: `multi_node` with a SQLite file.
        ValueError: not a database URL, or an unsupported database.
    """
    if make_url(url).get_backend_name() == "sqlite" and multi_node:
        raise LedgerError(
            f"{url} lies on one machine's disk, but the cluster has several; give a PostgreSQL "
            "URL (postgresql+psycopg://user@host/database)"
        )


def make_url(url: str) -> sa.URL:
    """`url`, parsed. Raises ValueError unless it is SQLite's or PostgreSQL's."""
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError) as error:
        without_password = url.rpartition("@")[2]
        raise ValueError(
            f"expected sqlite:///FILE or postgresql+psycopg://…, got {without_password!r}: {error}"
        ) from error
    if backend not in ("sqlite", "postgresql"):
        shown = parsed.render_as_string(hide_password=True)
        raise ValueError(f"expected sqlite:///FILE or postgresql+psycopg://…, got {shown!r}")
    return parsed.set(drivername="postgresql+psycopg") if url.startswith("postgresql:") else parsed


def take_turn(connection: sa.Connection) -> None:
    """Before tables are made: where two processes made the same ones at once, PostgreSQL would fail. Until the transaction's end."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))


def make_engine(url: sa.URL) -> sa.Engine:
    """Connections as every store here wants them: what a transaction has written survives a power cut.

    A transaction that writes is one of ``engine.execution_options(writes=True)``.

    Raises:
        ImportError: the driver of PostgreSQL is not installed.
    """
    engine = sa.create_engine(url, **_engine_options(url))
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _engine_options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    # a host that is gone without a word is noticed within half a minute, not after the kernel's hours
    waits = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5}
    return {
        "pool_pre_ping": True,
        "connect_args": {**waits, "keepalives_count": 3, "tcp_user_timeout": 25_000},
    }


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    _use_write_ahead_log(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Of a file that others open at the same moment SQLite says "locked" here at once, whatever it is told to wait."""
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    # a writer takes the lock at once: turning a reader into a writer fails where another one was quicker
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
