"""What is read of a ledger while its search may be at work in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa

from evaluation.database import make_engine, make_url
from evaluation.tables import metadata, proposals_table, sessions_table
from service.jobs.progress import read_progress, read_trials, read_trials_json
from service.run_folder import RunFolder


def test_sessions_and_trials_by_hand(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    engine = make_engine(make_url(folder.ledger_url)).execution_options(writes=True)
    proposal = {"session_id": 1, "choices": "[]", "label": "", "status": "done", "charged": 1.0}
    proposal |= {"is_new": True, "fidelity": None}

    def row(
        sequence: int, accuracy: str, latency: float, reward: float, **more: object
    ) -> dict[str, object]:
        costs = f'{{"latency_ms": {{"value": {latency}}}}}'
        result = f'{{"accuracy": {accuracy}}}'
        own = {"sequence": sequence, "digest": f"d{sequence}", "result": result, "costs": costs}
        return {**proposal, **own, "reward": reward, **more}

    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(
            sa.insert(sessions_table).values(
                id=1, run="r", strategy="ppo", seed=3, budget=8.0, space_digest="s", settings="{}"
            )
        )
        rows = [
            row(0, "0.5", 2.0, 0.1),
            row(1, "0.9", 3.0, 0.7),
            row(2, "null", 1.0, -1.0),  # it failed
            row(3, "0.5", 2.0, 0.1, is_new=False, charged=0.0),
            row(4, "0.95", 1.0, 9.0, fidelity="{}", charged=0.25),  # trained at a rung
        ]
        connection.execute(sa.insert(proposals_table), rows)
    engine.dispose()
    (found,) = read_progress(folder)
    assert (found.name, found.paid, found.budget, found.children) == ("ppo-3", 3.25, 8.0, 4)
    assert (found.best_digest, found.best_accuracy, found.best_reward) == ("d1", 0.9, 0.7)
    assert found.front == 2
    trials = read_trials(folder, "ppo-3")
    assert [trial.accuracy for trial in trials] == [0.5, 0.9, None, 0.5, None]
    assert read_trials(folder, "other") == []
    assert json.loads(read_trials_json(folder)) == [asdict(trial) for trial in trials]
    with engine.begin() as connection:  # what comes later is seen
        connection.execute(sa.insert(proposals_table), [row(5, "0.99", 1.0, 8.0)])
    engine.dispose()
    assert len(json.loads(read_trials_json(folder))) == 6
    assert read_progress(folder)[0].best_digest == "d5"
