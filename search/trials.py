"""The tables of a run: one row a proposal, and beside it what may differ from run to run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from archspace import write_atomic
from evaluation import Evaluation
from search.run_errors import DamagedRun, NotARun, OtherVersion

TRIALS_FILE = "trials.parquet"
TIMINGS_FILE = "timings.parquet"
PARETO_FILE = "pareto.csv"

TRIAL_COLUMNS: dict[str, str] = {
    "session": "string",  # strategy-seed, as in "ppo-0"
    "strategy": "string",
    "seed": "int64",
    "sequence": "int64",
    "digest": "string",
    "label": "string",
    "is_new": "bool",
    "charged": "float64",
    "status": "string",  # ok, failed or rejected
    "failure": "string",  # a FailureReason, else ""
    "message": "string",
    "accuracy": "float64",
    "accuracy_no_exit": "float64",
    "latency_ms": "float64",
    "latency_std_ms": "float64",
    "latency_source": "string",
    "latency_worst_ms": "float64",
    "energy_mj": "float64",
    "energy_source": "string",
    "energy_worst_mj": "float64",
    "num_params": "Int64",
    "macs": "Int64",
    "size_bytes": "Int64",  # of the stored weights
    "reward": "float64",
    "fidelity": "string",
    "is_full": "bool",  # trained at the full search fidelity: what fronts, picks and bests are made of
    "model_version": "Int64",
    "choices": "string",  # JSON list of indices
    "exit_thresholds": "string",  # JSON list
    "exit_shares": "string",  # JSON list
}
"""Columns of ``trials.parquet`` in order, with their types. Missing numbers are NaN or NA, missing text is ""."""

TIMING_COLUMNS: dict[str, str] = {
    "session": "string",
    "sequence": "int64",
    "train_seconds": "float64",
    "worker": "string",
}
"""Columns of ``timings.parquet``: what differs between two runs of one search."""


def trials_frame(
    evaluations_by_session: Mapping[str, Sequence[Evaluation]], *, fidelity: str
) -> pd.DataFrame:
    """One row a proposal, sessions in the mapping's order; only what a repeated search repeats.

    Args:
        evaluations_by_session: keys are strategy and seed, as in ``"ppo-0"``.
        fidelity: name of the full fidelity.
    """
    rows = [
        _trial_row(session, evaluation, fidelity)
        for session, evaluations in evaluations_by_session.items()
        for evaluation in evaluations
    ]
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)).astype(TRIAL_COLUMNS)


def timings_frame(evaluations_by_session: Mapping[str, Sequence[Evaluation]]) -> pd.DataFrame:
    """Training time and worker of each child that was trained for its session's proposal."""
    rows = [
        (session, e.sequence, e.result.train_seconds, e.result.worker)
        for session, evaluations in evaluations_by_session.items()
        for e in evaluations
        if e.result is not None and e.is_new
    ]
    return pd.DataFrame(rows, columns=list(TIMING_COLUMNS)).astype(TIMING_COLUMNS)


def pareto_frame(
    front: Sequence[Evaluation], picks: Mapping[str, Evaluation], *, fidelity: str, session: str
) -> pd.DataFrame:
    """The front as trial rows; `pick` says which picks a row is, as in ``"knee fastest"``, else ""."""
    frame = trials_frame({session: front}, fidelity=fidelity)
    names: dict[str, list[str]] = {}
    for name, evaluation in picks.items():
        names.setdefault(evaluation.architecture.digest, []).append(name)
    frame.insert(0, "pick", [" ".join(names.get(digest, ())) for digest in frame["digest"]])
    return frame


def write_parquet_atomic(frame: pd.DataFrame, path: Path) -> None:
    """Replace `path` so that a kill leaves the old file or the new one, never a part of one."""
    write_atomic(path, frame.to_parquet(None, index=False))


def write_csv_atomic(frame: pd.DataFrame, path: Path) -> None:
    """As `write_parquet_atomic`, as CSV with 17 digits: reading gives the same numbers."""
    text = frame.to_csv(None, index=False, float_format="%.17g", lineterminator="\n")
    write_atomic(path, text)


def read_trials(run_dir: Path) -> pd.DataFrame:
    """``trials.parquet`` of a run.

    Raises:
        NotARun: there is none.
        DamagedRun: it is not a Parquet file, or a part of one.
        OtherVersion: other columns than this version writes.
    """
    path = run_dir / TRIALS_FILE
    if not path.is_file():
        raise NotARun(f"{run_dir} is not a run with results: it has no {TRIALS_FILE}")
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises many kinds, and OSError
        raise DamagedRun(f"{path} cannot be read: {error}") from error
    if "is_full" not in frame.columns:  # before there were others
        frame["is_full"] = True
    missing = [column for column in TRIAL_COLUMNS if column not in frame.columns]
    if missing:
        raise OtherVersion(
            f"{path} lacks the columns {', '.join(missing)}: read it with the version that wrote it"
        )
    return frame[list(TRIAL_COLUMNS)].astype(TRIAL_COLUMNS)


def _trial_row(session: str, evaluation: Evaluation, fidelity: str) -> tuple[object, ...]:
    strategy, _, seed = session.rpartition("-")
    architecture, result, costs = evaluation.architecture, evaluation.result, evaluation.costs
    status = "ok" if evaluation.ok else "rejected" if evaluation.rejected else "failed"
    failure = result.failure if result is not None else None
    return (
        session,
        strategy,
        int(seed),
        evaluation.sequence,
        architecture.digest,
        architecture.label,
        evaluation.is_new,
        evaluation.charged,
        status,
        failure.value if failure is not None else "",
        evaluation.rejected or (result.message if result is not None else ""),
        result.accuracy if result is not None else None,
        result.accuracy_no_exit if result is not None else None,
        costs.latency_ms.value if costs else None,
        costs.latency_ms.std if costs else None,
        costs.latency_ms.source if costs else "",
        costs.latency_worst_ms.value if costs else None,
        costs.energy_mj.value if costs else None,
        costs.energy_mj.source if costs else "",
        costs.energy_worst_mj.value if costs else None,
        costs.num_params if costs else None,
        costs.macs if costs else None,
        costs.size_bytes if costs else None,
        evaluation.reward,
        evaluation.fidelity.name if evaluation.fidelity is not None else fidelity,
        evaluation.is_full,
        costs.model_version if costs else None,
        json.dumps(list(architecture.choices)),
        json.dumps(list(result.exit_thresholds) if result is not None else []),
        json.dumps(list(result.exit_shares) if result is not None else []),
    )
