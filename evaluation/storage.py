"""Reads and writes the ledger's tables: SQLite in a run's folder, or PostgreSQL.

Each public method of `Storage` is one transaction: on any error nothing of it is kept. SQLite runs in WAL mode
with ``synchronous=FULL``, so what a method has written survives a power cut.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from evaluation.codec import dump, result_from_json, result_to_json
from evaluation.database import make_engine, make_url, take_turn
from evaluation.high_water import Counts, HighWaterMark
from evaluation.results import ChildResult, Evaluation
from evaluation.row_checks import LedgerDamaged, LedgerError, bring_up, check_row, with_checksum
from evaluation.tables import (
    NO_OUTCOME,
    SCHEMA_VERSION,
    LoggedProposal,
    SessionRecord,
    in_scope,
    logged_proposal,
    meta_table,
    metadata,
    outcome_values,
    proposal_values,
    proposals_table,
    records_table,
    results_table,
    scope_prefix,
    session_record,
    sessions_table,
)

_PAGE = 512
"""Rows of a log that are read at once."""
_REMEDIES = {
    "disk is full": "free some space, then resume; nothing half-written is kept",
    "disk i/o error": "check the disk, then resume; nothing half-written is kept",
    "locked": "another process uses it; stop that one first",
    "readonly": "make the file and its folder writable",
    "unable to open": "check that the folder exists and is writable",
    "unique": "another process writes the same session; stop one of them",
}


_DAMAGE = (
    "not a database",
    "malformed",
    "could not decode",
    "no such table",
    "no such column",
    "unsupported file format",
)
_DAMAGE_REMEDY = (
    "the file is damaged or something else; put a copy of it back, or start a new run (`netlathe search` with this run's "
    "config and --device-file)"
)


class Storage:
    """Reads and writes the tables. One thread; other processes may read at the same time.

    Args:
        url: of the database.
        scope: whose sessions and cached results are read and written, where several runs share a database; "" for all.

    Raises:
        ValueError: not a usable database URL.
        LedgerError: it cannot be opened, or belongs to another version.
    """

    def __init__(self, url: str, *, scope: str = "") -> None:
        self.url = url
        self._prefix = scope_prefix(scope)
        parsed = make_url(url)
        self._where = parsed.database or url
        # of a database that several runs share, another one may delete rows
        own_file = parsed.get_backend_name() == "sqlite" and parsed.database and not scope
        self._mark = HighWaterMark(Path(self._where)) if own_file else None
        self._counts = Counts()
        try:
            self._engine = make_engine(parsed)
        except ImportError as error:
            raise LedgerError(
                f"{error}; install netlathe[postgres] for a PostgreSQL ledger"
            ) from error
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._writing() as connection:
            if connection.dialect.name == "sqlite":
                _check_structure(connection)
            take_turn(connection)
            _make_tables(connection)
            query = sa.select(meta_table.c.value).where(meta_table.c.name == "schema_version")
            version = connection.scalar(query)
            if version is None:
                row = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
                connection.execute(sa.insert(meta_table).values(row))
            elif version in ("1", "2", "3"):
                bring_up(connection, version)
            elif version != str(SCHEMA_VERSION):
                raise LedgerError(
                    f"ledger {self._where}: schema version {version}, but this Netlathe knows "
                    f"{SCHEMA_VERSION}; use the version that wrote it"
                )

            self._counts = _count(connection)
            if self._mark is not None:
                self._mark.check(self._counts)

    def _written(self, *, proposals: int = 0, finished: int = 0, records: int = 0) -> None:
        """So many more rows were committed."""
        added = (proposals, finished, records)
        self._counts = Counts(*(old + new for old, new in zip(self._counts, added, strict=True)))
        if self._mark is not None:
            self._mark.write(self._counts)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._engine.dispose()

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return self._transaction(self._engine)

    def _writing(self) -> AbstractContextManager[sa.Connection]:
        return self._transaction(self._engine.execution_options(writes=True))

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except (LedgerDamaged, UnicodeDecodeError) as error:
            # SQLite's own texts are no UTF-8 where they are damaged
            raise LedgerDamaged(f"ledger {self._where}: {error}; {_DAMAGE_REMEDY}") from error
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            text = str(getattr(error, "orig", error))
            if any(sign in text.lower() for sign in _DAMAGE):
                raise LedgerDamaged(f"ledger {self._where}: {text}; {_DAMAGE_REMEDY}") from error
            remedy = next((r for cause, r in _REMEDIES.items() if cause in text.lower()), "")
            raise LedgerError(
                f"ledger {self._where}: {text}{'; ' + remedy if remedy else ''}"
            ) from error

    def open_session(
        self,
        run: str,
        strategy: str,
        seed: int,
        *,
        budget: float,
        space_digest: str,
        settings: Mapping[str, str],
    ) -> SessionRecord:
        """The session with that name, made if there is none; an existing one keeps its settings."""
        run = self._prefix + run
        same = (
            (sessions_table.c.run == run)
            & (sessions_table.c.strategy == strategy)
            & (sessions_table.c.seed == seed)
        )
        with self._writing() as connection:
            row = connection.execute(sa.select(sessions_table).where(same)).one_or_none()
            if row is None:
                values = {
                    "run": run,
                    "strategy": strategy,
                    "seed": seed,
                    "budget": budget,
                    "space_digest": space_digest,
                    "settings": dump(dict(settings)),
                }
                connection.execute(sa.insert(sessions_table).values(with_checksum(values)))
                row = connection.execute(sa.select(sessions_table).where(same)).one()
            check_row(row)
        return session_record(row)

    def set_budget(self, session: SessionRecord, budget: float) -> None:
        """What the session may pay from now on; for those who look on, since a session is told its own."""
        same = sessions_table.c.id == session.id
        with self._writing() as connection:
            (row,) = _checked(connection, sa.select(sessions_table).where(same))
            checksum = with_checksum({**row._mapping, "budget": budget})["checksum"]
            update = sa.update(sessions_table).where(same)
            connection.execute(update.values(budget=budget, checksum=checksum))

    def sessions(self) -> list[SessionRecord]:
        """All sessions, in order of their making."""
        query = sa.select(sessions_table).where(in_scope(self._prefix))
        with self._reading() as connection:
            rows = _checked(connection, query.order_by(sessions_table.c.id))
        return [session_record(row) for row in rows]

    def proposals(self, session: SessionRecord) -> list[LoggedProposal]:
        """A session's log, in order. Raises LedgerDamaged where a row is missing or not as it was written."""
        return list(self.each_proposal(session))

    def each_proposal(self, session: SessionRecord) -> Iterator[LoggedProposal]:
        """`proposals`, a page of them in memory at a time."""
        first = 0
        while page := self.page(session, first):
            yield from page
            first += len(page)

    def page(self, session: SessionRecord, first: int) -> list[LoggedProposal]:
        """Up to 512 proposals from number `first` on. Raises as `proposals`."""
        query = (
            sa.select(proposals_table)
            .where(proposals_table.c.session_id == session.id)
            .where(proposals_table.c.sequence >= first)
            .order_by(proposals_table.c.sequence)
            .limit(_PAGE)
        )
        with self._reading() as connection:
            rows = _checked(connection, query)
            if [row.sequence for row in rows] != list(range(first, first + len(rows))):
                raise LedgerDamaged(f"rows are missing from the log of {session.name}")
        return [logged_proposal(row, session.space_digest) for row in rows]

    def log(self, session: SessionRecord, proposals: Sequence[LoggedProposal]) -> None:
        """Append proposals; those with an evaluation (rejections, repeats) are done at once."""
        rows = [
            with_checksum(
                proposal_values(session, p)
                | (outcome_values(p.evaluation) if p.evaluation else NO_OUTCOME)
            )
            for p in proposals
        ]
        if rows:
            with self._writing() as connection:
                connection.execute(sa.insert(proposals_table), rows)
            self._written(
                proposals=len(rows), finished=sum(p.evaluation is not None for p in proposals)
            )

    def finish(
        self,
        session: SessionRecord,
        evaluations: Iterable[Evaluation],
        *,
        cache: tuple[str, ChildResult] | None = None,
    ) -> None:
        """Write results of logged proposals with what they cost and, if given, the shared cache's entry."""
        finished = 0
        with self._writing() as connection:
            for evaluation in evaluations:
                values = proposal_values(session, evaluation) | outcome_values(evaluation)
                done = connection.execute(
                    sa.update(proposals_table)
                    .where(proposals_table.c.session_id == session.id)
                    .where(proposals_table.c.sequence == evaluation.sequence)
                    .where(proposals_table.c.status == "open")
                    .values(with_checksum(values))
                )
                if done.rowcount != 1:
                    raise LedgerError(
                        f"ledger {self._where}: proposal {evaluation.sequence} of {session.name} is not "
                        "waiting for a result; another process writes the same session: stop one"
                    )
                finished += 1
            if cache is not None and self._cached(connection, cache[0]) is None:
                row = {"key": self._prefix + cache[0], "result": result_to_json(cache[1])}
                connection.execute(sa.insert(results_table).values(with_checksum(row)))
        self._written(finished=finished)

    def cached(self, key: str) -> ChildResult | None:
        """What the shared cache holds for `key`."""
        with self._reading() as connection:
            text = self._cached(connection, key)
        return None if text is None else result_from_json(text)

    def _cached(self, connection: sa.Connection, key: str) -> str | None:
        same = results_table.c.key == self._prefix + key
        rows = _checked(connection, sa.select(results_table).where(same))
        return rows[0].result if rows else None

    def forget(self, scope: str) -> None:
        """Delete all that the runs of `scope`, which is not "", have written."""
        assert scope, "nobody means everything"
        prefix = scope_prefix(scope)
        sessions = sa.select(sessions_table.c.id).where(in_scope(prefix))
        with self._writing() as connection:
            connection.execute(
                sa.delete(proposals_table).where(proposals_table.c.session_id.in_(sessions))
            )
            connection.execute(sa.delete(sessions_table).where(in_scope(prefix)))
            cached = results_table.c.key.startswith(prefix, autoescape=True)
            connection.execute(sa.delete(results_table).where(cached))
            connection.execute(sa.delete(records_table).where(records_table.c.scope == scope))

    def put_record(self, scope: str, name: str, value: Mapping[str, Any]) -> None:
        """Keep `value` under (scope, name), in place of what was there. ValueError on NaN or infinity."""
        same = (records_table.c.scope == scope) & (records_table.c.name == name)
        row = with_checksum({"scope": scope, "name": name, "value": dump(dict(value))})
        with self._writing() as connection:
            replaced = connection.execute(sa.delete(records_table).where(same)).rowcount
            connection.execute(sa.insert(records_table).values(row))
        self._written(records=1 - replaced)

    def get_record(self, scope: str, name: str) -> dict[str, Any] | None:
        """What `put_record` kept."""
        same = (records_table.c.scope == scope) & (records_table.c.name == name)
        with self._reading() as connection:
            rows = _checked(connection, sa.select(records_table).where(same))
        return json.loads(rows[0].value) if rows else None


def _make_tables(connection: sa.Connection) -> None:
    """All of them in a new database; one of them alone is never made, for it would hide that it was lost."""
    missing = set(metadata.tables) - set(sa.inspect(connection).get_table_names())
    if missing and missing != set(metadata.tables):
        raise LedgerDamaged(f"it lacks {', '.join(sorted(missing))}")
    metadata.create_all(connection)


def _count(connection: sa.Connection) -> Counts:
    open_ones = proposals_table.c.status == "open"
    proposals = connection.scalar(sa.select(sa.func.count()).select_from(proposals_table)) or 0
    still_open = connection.scalar(sa.select(sa.func.count()).where(open_ones)) or 0
    records = connection.scalar(sa.select(sa.func.count()).select_from(records_table)) or 0
    return Counts(proposals, proposals - still_open, records)


def _check_structure(connection: sa.Connection) -> None:
    """By SQLite's own means: pages, and that indexes and tables agree; about 1 ms a megabyte."""
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if found != "ok":
        raise LedgerDamaged(f"SQLite finds: {found}")


def _checked(connection: sa.Connection, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    """The rows, all of whose columns the query must name. Raises LedgerDamaged where one is not as it was written."""
    try:
        rows = connection.execute(query).all()
    except (ValueError, TypeError) as error:  # a flag or number that is none any more
        raise LedgerDamaged(f"a row cannot be read: {error}") from error
    for row in rows:
        check_row(row)
    return rows
