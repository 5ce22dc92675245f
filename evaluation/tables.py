"""The ledger's tables, and their rows as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from archspace import Architecture
from evaluation.codec import (
    costs_from_json,
    costs_to_json,
    dump,
    fidelity_from_json,
    fidelity_to_json,
    result_from_json,
    result_to_json,
)
from evaluation.results import Evaluation, Fidelity

SCHEMA_VERSION = 4
"""2 added the column `proposals.fidelity`, 3 checksums, 4 `proposals.arrival`; `row_checks.bring_up` brings older ledgers up."""

metadata = sa.MetaData()

meta_table = sa.Table(
    "netlathe_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

sessions_table = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.String(255), nullable=False),
    sa.Column("strategy", sa.String(64), nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("budget", sa.Float(53), nullable=False),
    sa.Column("space_digest", sa.String(64), nullable=False),
    sa.Column("settings", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(16)),
    sa.UniqueConstraint("run", "strategy", "seed"),
)

proposals_table = sa.Table(
    "proposals",
    metadata,
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
    sa.Column("fidelity", sa.Text),  # JSON of a reduced one; NULL: the session's own
    sa.Column("arrival", sa.Integer),  # where results are handed back in that order
    sa.Column("checksum", sa.String(16)),
)

results_table = sa.Table(
    "results",
    metadata,
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(16)),
)

records_table = sa.Table(
    "records",
    metadata,
    sa.Column("scope", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(16)),
)

checked_tables = (sessions_table, proposals_table, results_table, records_table)
"""Those whose rows carry a checksum over their other columns; see `row_checks`."""


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
    """One row of a session's log. `evaluation` is None while there is no result; `fidelity` as in `Evaluation`."""

    sequence: int
    architecture: Architecture
    is_new: bool
    evaluation: Evaluation | None
    fidelity: Fidelity | None = None


def session_name(strategy: str, seed: int) -> str:
    """How tables and checkpoint folders name a session."""
    return f"{strategy}-{seed}"


def scope_prefix(scope: str) -> str:
    """Of the names of runs, and of the keys of results, that belong to `scope`."""
    return f"{scope}/" if scope else ""


def in_scope(prefix: str) -> sa.ColumnElement[bool]:
    """Sessions whose run's name has the prefix; all of them where it is ""."""
    return sessions_table.c.run.startswith(prefix, autoescape=True)


NO_OUTCOME = {
    "status": "open",
    "rejected": "",
    "charged": None,
    "reward": None,
    "result": None,
    "costs": None,
    "arrival": None,
}


def proposal_values(
    session: SessionRecord, proposal: LoggedProposal | Evaluation
) -> dict[str, Any]:
    """The columns that say what was proposed; `outcome_values` or `NO_OUTCOME` are the others."""
    return {
        "session_id": session.id,
        "sequence": proposal.sequence,
        "choices": dump(proposal.architecture.choices),
        "digest": proposal.architecture.digest,
        "label": proposal.architecture.label,
        "is_new": proposal.is_new,
        "fidelity": fidelity_to_json(proposal.fidelity) if proposal.fidelity else None,
    }


def outcome_values(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "status": "rejected" if evaluation.rejected else "done",
        "rejected": evaluation.rejected,
        "charged": evaluation.charged,
        "reward": evaluation.reward,
        "result": result_to_json(evaluation.result) if evaluation.result else None,
        "costs": costs_to_json(evaluation.costs) if evaluation.costs else None,
        "arrival": evaluation.arrival,
    }


def session_record(row: sa.Row[Any]) -> SessionRecord:
    return SessionRecord(
        id=row.id,
        run=row.run,
        strategy=row.strategy,
        seed=row.seed,
        budget=row.budget,
        space_digest=row.space_digest,
        settings=json.loads(row.settings),
    )


def logged_proposal(row: sa.Row[Any], space_digest: str) -> LoggedProposal:
    architecture = Architecture(
        space_digest=space_digest,
        choices=tuple(json.loads(row.choices)),
        digest=row.digest,
        label=row.label,
    )
    fidelity = fidelity_from_json(row.fidelity) if row.fidelity else None
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
            fidelity=fidelity,
            arrival=row.arrival,
        )
    return LoggedProposal(
        sequence=row.sequence,
        architecture=architecture,
        is_new=row.is_new,
        evaluation=evaluation,
        fidelity=fidelity,
    )
