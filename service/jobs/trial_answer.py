"""All that is known of one trial of a job: its rows in the ledger, and the lines of the run's log that name it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Self

import sqlalchemy as sa
from pydantic import BaseModel, Field

from archspace import Choice, NasBench201Space, SearchSpace, Shape, StagedSpace, StagedSpaceConfig
from evaluation.tables import (
    in_scope,
    proposals_table,
    scope_prefix,
    session_name,
    sessions_table,
)
from service.config_file import validate
from service.errors import NotFoundError, UsageError
from service.jobs.progress import read_ledger
from service.run_folder import RunFolder

TRIAL = re.compile(r"[0-9]{1,9}|[0-9a-f]{4,64}")
"""A number, or a digest or the beginning of one (with more than nine digits where it has no letter)."""
_ANY_IMAGE = Shape(1, 1 << 16, 1 << 16)
_MOST_ROWS = 100
_MOST_LINES = 200
_LOG_BYTES = 4 * 1024 * 1024


class TrialRow(BaseModel):
    """One proposal of one strategy, as the ledger has it."""

    session: str
    sequence: int
    digest: str
    architecture: str
    choices: dict[str, Choice] = Field(description="by decision of the space")
    status: str = Field(description="open: no result yet; done; rejected: over a hard limit")
    rejected: str
    is_new: bool
    paid: float | None
    reward: float | None
    fidelity: dict[str, Any] | None = Field(description="null: trained in full")
    result: dict[str, Any] | None = Field(
        description="accuracy, or failure and message; worker; train_seconds"
    )
    costs: dict[str, Any] | None = Field(description="predicted, each with its source")

    @classmethod
    def of(cls, row: sa.Row[Any], space: SearchSpace) -> Self:
        def read(text: str | None) -> dict[str, Any] | None:
            found: dict[str, Any] | None = json.loads(text) if text else None
            return found

        return cls(
            session=session_name(row.strategy, row.seed),
            sequence=row.sequence,
            digest=row.digest,
            architecture=row.label,
            choices=space.named(json.loads(row.choices)),
            status=row.status,
            rejected=row.rejected,
            is_new=row.is_new,
            paid=row.charged,
            reward=row.reward,
            fidelity=read(row.fidelity),
            result=read(row.result),
            costs=read(row.costs),
        )


class LogLine(BaseModel):
    """One message of the run's log."""

    time: str
    level: str
    message: str


class TrialAnswer(BaseModel):
    """A trial: under a number one row of each strategy, under a digest each time that it was proposed."""

    rows: list[TrialRow]
    log: list[LogLine]


def read_trial(folder: RunFolder, config: Mapping[str, Any], trial: str) -> TrialAnswer:
    """What is known of a trial.

    Args:
        folder: of the run, which may be at work.
        config: the run's.
        trial: see `TRIAL`.

    Raises:
        UsageError: neither a number nor a digest.
        NotFoundError: there is none.
    """
    if not TRIAL.fullmatch(trial):
        raise UsageError(f"trial {trial!r}: expected a number, or a digest of 4 or more hex digits")
    proposals = proposals_table.c
    is_number = trial.isdigit() and len(trial) < 10
    wanted = (
        proposals.sequence == int(trial)
        if is_number
        else proposals.digest.startswith(trial, autoescape=True)
    )
    query = (
        sa.select(proposals_table, sessions_table.c.strategy, sessions_table.c.seed)
        .join(sessions_table, sessions_table.c.id == proposals.session_id)
        .where(wanted, in_scope(scope_prefix(folder.ledger_scope)))
        .order_by(proposals.session_id, proposals.sequence)
        .limit(_MOST_ROWS)
    )

    def read(connection: sa.Connection) -> list[TrialRow]:
        found = connection.execute(query).all()
        space = _space(config, folder.path.name) if found else None
        return [TrialRow.of(row, space) for row in found if space is not None]

    rows = read_ledger(folder, read)
    if not rows:
        raise NotFoundError(f"{folder.path.name} has no trial {trial} (yet)")
    return TrialAnswer(rows=rows, log=_lines(folder, {row.digest for row in rows}))


def _space(config: Mapping[str, Any], source: str) -> SearchSpace:
    """The run's, but for images of any size: its decisions and their choices do not depend on these."""
    from service.run_config import RunConfig  # heavy

    space = validate(RunConfig, config, source).space
    kind = StagedSpace if isinstance(space, StagedSpaceConfig) else NasBench201Space
    return kind(space, input_shape=_ANY_IMAGE, num_classes=2)  # type: ignore[arg-type]


def _lines(folder: RunFolder, digests: set[str]) -> list[LogLine]:
    """The last of the log's messages that name one of them."""
    try:
        with folder.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines():
        if not any(digest in line for digest in digests):
            continue
        try:
            found.append(LogLine.model_validate_json(line))
        except ValueError:
            continue  # cut off, where a process died or where reading began
    return found[-_MOST_LINES:]
