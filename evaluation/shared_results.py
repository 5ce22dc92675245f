"""Children's results that several jobs share, and who trains which child now; in SQLite or PostgreSQL.

A job claims a child before it trains it. A claim is a lease: one that is not renewed runs out, and another job may take it over.
Claims and results are decided in one transaction each, so that of any number of jobs that ask at once one gets the child.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from evaluation.codec import result_from_json, result_to_json
from evaluation.database import BUSY_TIMEOUT_S, make_engine, make_url, take_turn
from evaluation.evaluator import EvaluationError
from evaluation.results import ChildResult

_log = logging.getLogger(__name__)

MAX_RESULT_CHARS = 16_384
"""A result whose JSON is longer is not kept; real ones have a few hundred."""
_CHUNK = 500
"""Keys in one query: databases limit the number of parameters."""
_LOCK_LIMIT = {"options": f"-c lock_timeout={BUSY_TIMEOUT_S:.0f}s"}
"""Of PostgreSQL: nobody's lock may hold a search up. Networks that are gone are `make_engine`'s concern."""

metadata = sa.MetaData()

results_table = sa.Table(
    "shared_results",
    metadata,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("result", sa.String(MAX_RESULT_CHARS), nullable=False),
    sa.Column("at", sa.Float(53), nullable=False),
)

claims_table = sa.Table(
    "shared_claims",
    metadata,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("until", sa.Float(53), nullable=False),
)


class SharedResultsError(EvaluationError):
    """The shared results cannot be reached, read or written."""


class SharedResults:
    """See the file's head. May be used by several processes and threads at once; connects when it is first asked.

    Leases are judged by each job's own clock: clocks that differ by more than a lease have children trained twice, no worse.

    Args:
        url: a database URL, ``sqlite:///FILE`` (in a folder that exists) or ``postgresql+psycopg://…``.
        clock: seconds since 1970.

    Raises:
        ValueError: not a usable URL.
        SharedResultsError: the database's driver is not installed; all other methods: it cannot be reached, read or written.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        parsed = make_url(url)
        self._clock = clock
        self._where = parsed.render_as_string(hide_password=True)
        is_postgres = parsed.get_backend_name() == "postgresql"
        if is_postgres:
            parsed = parsed.set(query={**_LOCK_LIMIT, **parsed.query})
        self._insert: Any = postgresql.insert if is_postgres else sqlite.insert
        self._is_prepared = False
        try:
            self._engine = make_engine(parsed)
        except ImportError as error:
            raise SharedResultsError(f"{error}; install netlathe[postgres]") from error

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._engine.dispose()

    def get_many(self, keys: Sequence[str]) -> dict[str, ChildResult]:
        """Results by key, of those keys that have one."""
        with self._transaction(writes=False) as connection:
            rows = [
                (row.key, row.result)
                for some in _chunks(keys)
                for row in connection.execute(
                    sa.select(results_table).where(results_table.c.key.in_(some))
                )
            ]
        found: dict[str, ChildResult] = {}
        for key, text in rows:
            try:
                found[key] = result_from_json(text)
            except (ValueError, TypeError, KeyError) as error:
                self._drop(key, text, error)
        return found

    def claim(self, keys: Sequence[str], owner: str, lease_s: float, most: int) -> list[str]:
        """The first keys, at most `most`, that have neither a result nor a claim still running: they are `owner`'s now.

        A claim of one's own is no different from another's. One that ran out is taken over.
        """
        now = self._clock()
        with self._transaction() as connection:
            running = claims_table.c.until >= now
            taken = _known(connection, results_table, keys)
            taken |= _known(connection, claims_table, keys, running)
            free = [key for key in dict.fromkeys(keys) if key not in taken][:most]
            # in one order for all: two transactions that wait for each other's rows would fail
            ours = {key for key in sorted(free) if self._take(connection, key, owner, now, lease_s)}
            # where others write meanwhile, a result may have come after the look above, and its claim gone
            late = _known(connection, results_table, list(ours))
            _delete(connection, late, owner)
        return [key for key in free if key in ours - late]

    def renew(self, keys: Iterable[str], owner: str, lease_s: float) -> None:
        """Have those claims that are still `owner`'s run for `lease_s` seconds from now."""
        until = self._clock() + lease_s
        with self._transaction() as connection:
            for some in _chunks(list(keys)) or [[]]:
                connection.execute(
                    sa.update(claims_table)
                    .where(claims_table.c.key.in_(some), claims_table.c.owner == owner)
                    .values(until=until)
                )

    def put(self, key: str, result: ChildResult) -> None:
        """Keep a result for all, if there is none yet, and end the claim on it, whoever has that.

        One that is too large (`MAX_RESULT_CHARS`) is not kept.

        Raises:
            ValueError: a number in it is NaN or infinite.
        """
        text = result_to_json(result)
        with self._transaction() as connection:
            if len(text) <= MAX_RESULT_CHARS:
                row = {"key": key, "result": text, "at": self._clock()}
                connection.execute(self._insert(results_table).values(row).on_conflict_do_nothing())
            _delete(connection, [key])

    def release(self, keys: Iterable[str], owner: str) -> None:
        """End those claims that are `owner`'s: others may train these children at once."""
        with self._transaction() as connection:
            _delete(connection, keys, owner)

    def _take(
        self, connection: sa.Connection, key: str, owner: str, now: float, lease_s: float
    ) -> bool:
        lease = {"owner": owner, "until": now + lease_s}
        statement = (
            self._insert(claims_table)
            .values(key=key, **lease)
            .on_conflict_do_update(
                index_elements=["key"], set_=lease, where=claims_table.c.until < now
            )
            .returning(claims_table.c.key)
        )
        return connection.scalar(statement) is not None

    def _drop(self, key: str, text: str, error: Exception) -> None:
        """Or nobody would ever train that child."""
        _log.warning(
            "shared results %s: %s cannot be read, and is dropped: %s", self._where, key, error
        )
        same = (results_table.c.key == key) & (results_table.c.result == text)
        with self._transaction() as connection:
            connection.execute(sa.delete(results_table).where(same))

    @contextmanager
    def _transaction(self, *, writes: bool = True) -> Iterator[sa.Connection]:
        try:
            if not self._is_prepared:
                self._prepare()
            with self._engine.execution_options(writes=writes).begin() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            self._is_prepared = False  # it may come back empty
            raise SharedResultsError(f"{self._where}: {getattr(error, 'orig', error)}") from error

    def _prepare(self) -> None:
        with self._engine.execution_options(writes=True).begin() as connection:
            take_turn(connection)
            metadata.create_all(connection)
        self._is_prepared = True


def _known(
    connection: sa.Connection,
    table: sa.Table,
    keys: Sequence[str],
    also: sa.ColumnElement[bool] | None = None,
) -> set[str]:
    """Those of `keys` that the table holds."""
    found: set[str] = set()
    for some in _chunks(keys):
        query = sa.select(table.c.key).where(table.c.key.in_(some))
        found.update(connection.scalars(query if also is None else query.where(also)))
    return found


def _delete(connection: sa.Connection, keys: Iterable[str], owner: str | None = None) -> None:
    """Claims on `keys`, of `owner` only where it is given."""
    for some in _chunks(sorted(keys)):
        statement = sa.delete(claims_table).where(claims_table.c.key.in_(some))
        if owner is not None:
            statement = statement.where(claims_table.c.owner == owner)
        connection.execute(statement)


def _chunks(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
