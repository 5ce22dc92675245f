"""The ledger's tables, by SQLAlchemy: SQLite in a run's folder, or PostgreSQL.

Each public method of `Storage` is one transaction: on any error nothing of it is kept. SQLite runs in WAL mode
with ``synchronous=FULL``, so what a method has written survives a power cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from archspace import Architecture
from evaluation.codec import (
    costs_from_json,
    costs_to_json,
    dump,
    result_from_json,
    result_to_json,
)
from evaluation.evaluator import EvaluationError
from evaluation.results import ChildResult, Evaluation

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
_REMEDIES = {
    "disk is full": "free some space, then resume; nothing half-written is kept",
    "disk i/o error": "check the disk, then resume; nothing half-written is kept",
    "locked": "another process uses it; stop that one first",
    "readonly": "make the file and its folder writable",
    "unable to open": "check that the folder exists and is writable",
    "not a database": "the file is damaged or something else",
    "malformed": "the file is damaged",
    "unique": "another process writes the same session; stop one of them",
}


class LedgerError(EvaluationError):
    """The ledger cannot be opened, read or written; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionRecord:
    """One session as its table holds it. `name` is strategy-seed, unique within a run."""

    id: int
    run: str
    strategy: str
    seed: int
    budget: float
    space_digest: str
    settings: Mapping[str, str]

    @property
    def name(self) -> str:
        return session_name(self.strategy, self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedProposal:
    """One row of a session's log. `evaluation` is None while there is no result."""

    sequence: int
    architecture: Architecture
    is_new: bool
    evaluation: Evaluation | None


def session_name(strategy: str, seed: int) -> str:
    """How tables and checkpoint folders name a session."""
    return f"{strategy}-{seed}"


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
        raise ValueError(f"ledger: {url!r} is not a database URL: {error}") from error
    if backend not in ("sqlite", "postgresql"):
        raise ValueError(f"ledger: expected sqlite:///FILE or postgresql+psycopg://…, got {url!r}")
    return parsed.set(drivername="postgresql+psycopg") if url.startswith("postgresql:") else parsed


_metadata = sa.MetaData()

_meta = sa.Table(
    "netlathe_meta",
    _metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

_sessions = sa.Table(
    "sessions",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.String(255), nullable=False),
    sa.Column("strategy", sa.String(64), nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("budget", sa.Float(53), nullable=False),
    sa.Column("space_digest", sa.String(64), nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "strategy", "seed"),
)

_proposals = sa.Table(
    "proposals",
    _metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id"), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("choices", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("is_new", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),  # open, done or rejected
    sa.Column("rejected", sa.Text, nullable=False, server_default=""),
    sa.Column("charged", sa.Float(53)),
    sa.Column("reward", sa.Float(53)),
    sa.Column("result", sa.Text),
    sa.Column("costs", sa.Text),
)

_cache = sa.Table(
    "results",
    _metadata,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
)

_records = sa.Table(
    "records",
    _metadata,
    sa.Column("scope", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


class Storage:
    """Reads and writes the tables. One thread; other processes may read at the same time.

    Raises:
        ValueError: not a usable database URL.
        LedgerError: it cannot be opened, or belongs to another version.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = make_url(url)
        self._where = parsed.database or url
        try:
            self._engine = sa.create_engine(parsed, **_engine_options(parsed))
        except ImportError as error:
            raise LedgerError(
                f"{error}; install netlathe[postgres] for a PostgreSQL ledger"
            ) from error
        if parsed.get_backend_name() == "sqlite":
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_at_once)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._transaction() as connection:
            _metadata.create_all(connection)
            query = sa.select(_meta.c.value).where(_meta.c.name == "schema_version")
            version = connection.scalar(query)
            if version is None:
                row = {"name": "schema_version", "value": str(SCHEMA_VERSION)}
                connection.execute(sa.insert(_meta).values(row))
            elif version != str(SCHEMA_VERSION):
                raise LedgerError(
                    f"ledger {self._where}: schema version {version}, but this Netlathe knows "
                    f"{SCHEMA_VERSION}; use the version that wrote it"
                )

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            text = str(error.orig)
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
        same = (
            (_sessions.c.run == run)
            & (_sessions.c.strategy == strategy)
            & (_sessions.c.seed == seed)
        )
        with self._transaction() as connection:
            row = connection.execute(sa.select(_sessions).where(same)).one_or_none()
            if row is None:
                values = {
                    "run": run,
                    "strategy": strategy,
                    "seed": seed,
                    "budget": budget,
                    "space_digest": space_digest,
                    "settings": dump(dict(settings)),
                }
                connection.execute(sa.insert(_sessions).values(values))
                row = connection.execute(sa.select(_sessions).where(same)).one()
        return _session(row)

    def sessions(self) -> list[SessionRecord]:
        """All sessions, in order of their making."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(_sessions).order_by(_sessions.c.id)).all()
        return [_session(row) for row in rows]

    def proposals(self, session: SessionRecord) -> list[LoggedProposal]:
        """A session's log, in order."""
        query = (
            sa.select(_proposals)
            .where(_proposals.c.session_id == session.id)
            .order_by(_proposals.c.sequence)
        )
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return [_proposal(row, session.space_digest) for row in rows]

    def log(self, session: SessionRecord, proposals: Sequence[LoggedProposal]) -> None:
        """Append proposals; those with an evaluation (rejections, repeats) are done at once."""
        rows = [
            {
                "session_id": session.id,
                "sequence": p.sequence,
                "choices": dump(p.architecture.choices),
                "digest": p.architecture.digest,
                "label": p.architecture.label,
                "is_new": p.is_new,
                "status": "open",
                "rejected": "",
                **(_outcome(p.evaluation) if p.evaluation else _NO_OUTCOME),
            }
            for p in proposals
        ]
        if rows:
            with self._transaction() as connection:
                connection.execute(sa.insert(_proposals), rows)

    def finish(
        self,
        session: SessionRecord,
        evaluations: Iterable[Evaluation],
        *,
        cache: tuple[str, ChildResult] | None = None,
    ) -> None:
        """Write results of logged proposals with what they cost and, if given, the shared cache's entry."""
        with self._transaction() as connection:
            for evaluation in evaluations:
                connection.execute(
                    sa.update(_proposals)
                    .where(_proposals.c.session_id == session.id)
                    .where(_proposals.c.sequence == evaluation.sequence)
                    .values(**_outcome(evaluation))
                )
            if cache is not None and self._cached(connection, cache[0]) is None:
                row = {"key": cache[0], "result": result_to_json(cache[1])}
                connection.execute(sa.insert(_cache).values(row))

    def cached(self, key: str) -> ChildResult | None:
        """What the shared cache holds for `key`."""
        with self._transaction() as connection:
            text = self._cached(connection, key)
        return None if text is None else result_from_json(text)

    @staticmethod
    def _cached(connection: sa.Connection, key: str) -> str | None:
        return connection.scalar(sa.select(_cache.c.result).where(_cache.c.key == key))

    def put_record(self, scope: str, name: str, value: Mapping[str, Any]) -> None:
        """Keep `value` under (scope, name), in place of what was there. ValueError on NaN or infinity."""
        same = (_records.c.scope == scope) & (_records.c.name == name)
        text = dump(dict(value))
        with self._transaction() as connection:
            connection.execute(sa.delete(_records).where(same))
            connection.execute(sa.insert(_records).values(scope=scope, name=name, value=text))

    def get_record(self, scope: str, name: str) -> dict[str, Any] | None:
        """What `put_record` kept."""
        same = (_records.c.scope == scope) & (_records.c.name == name)
        with self._transaction() as connection:
            text = connection.scalar(sa.select(_records.c.value).where(same))
        return None if text is None else json.loads(text)


_NO_OUTCOME = {"charged": None, "reward": None, "result": None, "costs": None}


def _outcome(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "status": "rejected" if evaluation.rejected else "done",
        "rejected": evaluation.rejected,
        "charged": evaluation.charged,
        "reward": evaluation.reward,
        "result": result_to_json(evaluation.result) if evaluation.result else None,
        "costs": costs_to_json(evaluation.costs) if evaluation.costs else None,
    }


def _session(row: sa.Row[Any]) -> SessionRecord:
    return SessionRecord(
        id=row.id,
        run=row.run,
        strategy=row.strategy,
        seed=row.seed,
        budget=row.budget,
        space_digest=row.space_digest,
        settings=json.loads(row.settings),
    )


def _proposal(row: sa.Row[Any], space_digest: str) -> LoggedProposal:
    architecture = Architecture(
        space_digest=space_digest,
        choices=tuple(json.loads(row.choices)),
        digest=row.digest,
        label=row.label,
    )
    evaluation = None
    if row.status != "open":
        evaluation = Evaluation(
            sequence=row.sequence,
            architecture=architecture,
            result=result_from_json(row.result) if row.result else None,
            costs=costs_from_json(row.costs) if row.costs else None,
            reward=row.reward,
            charged=row.charged,
            is_new=row.is_new,
            rejected=row.rejected,
        )
    return LoggedProposal(
        sequence=row.sequence, architecture=architecture, is_new=row.is_new, evaluation=evaluation
    )


def _engine_options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    return {"pool_pre_ping": True}


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_at_once(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
