"""A run's ledger and log as a search leaves them, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from evaluation.codec import costs_to_json, result_to_json
from evaluation.database import make_engine, make_url
from evaluation.results import ChildResult, FailureReason, NetworkCosts
from evaluation.tables import metadata, proposals_table, sessions_table
from latency_models import Cost
from service.run_folder import RunFolder

GOOD, BAD = "0123456789abcdef", "fedcba9876543210"
COSTS = NetworkCosts(
    latency_ms=Cost(1.5, 0.1, "predicted"),
    latency_worst_ms=Cost(2.0, 0.1, "predicted"),
    energy_mj=Cost(3.0, 0.1, "estimated"),
    energy_worst_mj=Cost(4.0, 0.1, "estimated"),
    num_params=1234,
    macs=56789,
    size_bytes=4936,
)


def write_run(folder: RunFolder) -> None:
    """Two strategies: one network that is good, and one that failed."""
    folder.path.mkdir(parents=True)
    good = ChildResult(
        digest=GOOD, accuracy=0.9, accuracy_no_exit=0.9, train_seconds=8.0, worker="worker-1"
    )
    bad = ChildResult(
        digest=BAD, failure=FailureReason.OOM, message="needs 9 GB", train_seconds=2.0
    )
    engine = make_engine(make_url(folder.ledger_url)).execution_options(writes=True)
    with engine.begin() as connection:
        metadata.create_all(connection)
        for number, strategy in enumerate(("ppo", "random"), 1):
            session = {"id": number, "run": "r", "strategy": strategy, "seed": 0}
            more: Mapping[str, Any] = {"budget": 8.0, "space_digest": "s", "settings": "{}"}
            connection.execute(sa.insert(sessions_table).values({**session, **more}))
        rows = [row(1, 0, good, reward=0.7), row(1, 1, bad, reward=-1.0), row(2, 0, bad, reward=-1)]
        connection.execute(sa.insert(proposals_table), rows)
    engine.dispose()
    messages = [f"{BAD}: OOM: needs 9 GB", "something else", f"looked at {GOOD}"]
    told = [{"time": "t", "level": "INFO", "logger": "search", "message": m} for m in messages]
    folder.log.write_text("".join(json.dumps(line) + "\n" for line in told) + f'{{"cut": "{GOOD}')


def row(session: int, sequence: int, result: ChildResult, *, reward: float) -> dict[str, object]:
    return {
        "session_id": session,
        "sequence": sequence,
        "choices": "[2,0,0,0,2,0,1,0,1,0]",
        "digest": result.digest,
        "label": "conv_k3@0.5 identity",
        "is_new": True,
        "status": "done",
        "rejected": "",
        "charged": 1.0,
        "reward": reward,
        "result": result_to_json(result),
        "costs": costs_to_json(COSTS),
        "fidelity": None,
    }
