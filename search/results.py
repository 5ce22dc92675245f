"""From sessions and finals to the files that a person or a program reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

from archspace import write_atomic
from deploy import standard_error
from evaluation import Evaluation, LedgerSession
from search.analysis import ANALYSIS_FILE, Analysis
from search.finals import Final, worth_picking
from search.pareto import hypervolume_2d, pareto_front, picks, point_of
from search.parts import RunParts
from search.recalibration import recalibrations
from search.report import REPORT_FILE, write_report
from search.run_clock import BUSY, RunClock
from search.summary import (
    SUMMARY_FILE,
    DataSummary,
    PickSummary,
    RunSummary,
    SessionSummary,
    SpaceSummary,
)
from search.trials import (
    PARETO_FILE,
    TIMINGS_FILE,
    TRIALS_FILE,
    pareto_frame,
    timings_frame,
    trials_frame,
    write_csv_atomic,
    write_parquet_atomic,
)

BEST_DIR = "best"


def write_tables(parts: RunParts, sessions: Sequence[LedgerSession]) -> None:
    """``trials.parquet`` and ``timings.parquet`` of the sessions so far."""
    histories = {session.name: session.history for session in sessions}
    trials = trials_frame(histories, fidelity=parts.schedule.search.name)
    write_parquet_atomic(trials, parts.run_dir / TRIALS_FILE)
    write_parquet_atomic(timings_frame(histories), parts.run_dir / TIMINGS_FILE)


def write_report_files(
    parts: RunParts,
    sessions: Sequence[LedgerSession],
    finals: Sequence[Final],
    summary: RunSummary,
    analysis: Analysis,
) -> None:
    """``pareto.csv``, ``analysis.json``, ``report.html`` and, last, ``summary.json``: its presence says that the run is finished."""
    write_tables(parts, sessions)
    main = sessions[0]
    front = pareto_front(main.history)
    chosen = {final.pick: final.evaluation for final in finals} or _table_picks(parts, sessions)
    fidelity = parts.schedule.search.name
    write_csv_atomic(
        pareto_frame(front, chosen, fidelity=fidelity, session=main.name),
        parts.run_dir / PARETO_FILE,
    )
    networks = {final.evaluation.architecture.digest: final.network for final in finals}
    for evaluation in chosen.values():
        digest = evaluation.architecture.digest
        networks.setdefault(digest, parts.resolve(evaluation.architecture.choices))
    histories = {session.name: session.history for session in sessions}
    analysis.write(parts.run_dir / ANALYSIS_FILE)
    write_report(
        parts.run_dir,
        summary,
        trials_frame(histories, fidelity=fidelity),
        networks=networks,
        held_out=parts.device.held_out if parts.device else (),
        config_text=parts.config_text,
        latency_limit_ms=parts.limits.latency_ms,
        analysis=analysis,
    )
    write_atomic(parts.run_dir / SUMMARY_FILE, summary.to_json())


def summarise(
    parts: RunParts,
    sessions: Sequence[LedgerSession],
    finals: Sequence[Final],
    clock: RunClock,
) -> RunSummary:
    """The run in figures."""
    size = parts.space.size()
    pick_rows = (
        tuple(_pick(parts, final) for final in finals)
        if finals
        else tuple(_table_pick(name, e) for name, e in _table_picks(parts, sessions).items())
    )
    seconds = clock.seconds
    return RunSummary(
        name=parts.name,
        session=sessions[0].name,
        seed=parts.seed,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        netlathe_version=version("netlathe"),
        space=SpaceSummary(
            kind=parts.space.kind,
            digest=parts.space.digest,
            num_decisions=len(parts.space.decisions),
            sequences=size.sequences,
            distinct_low=size.distinct_low,
            distinct_high=size.distinct_high,
        ),
        device=parts.device.name if parts.device else "",
        objective=parts.objective_text,
        limits=_limits_text(parts),
        picks=pick_rows,
        sessions=_session_summaries(sessions),
        data=_data(parts),
        profile=parts.device.quality if parts.device else None,
        recalibrations=tuple(
            found for session in sessions for found in recalibrations(parts, session)
        ),
        utilisation=clock.utilisation(len(parts.evaluator.status())) if parts.dataset else None,
        seconds={name: round(value, 3) for name, value in seconds.items() if name != BUSY},
        paths={
            **({"export": BEST_DIR} if pick_rows else {}),
            "report": REPORT_FILE,
            "trials": TRIALS_FILE,
            "pareto": PARETO_FILE,
            "analysis": ANALYSIS_FILE,
        },
    )


def _table_picks(parts: RunParts, sessions: Sequence[LedgerSession]) -> dict[str, Evaluation]:
    """Picks of a run that trains nothing; one that trains has those that it trained, or none."""
    if parts.dataset is not None:
        return {}
    candidates = worth_picking(parts, sessions[0].history)
    return picks(candidates).by_name() if candidates else {}


def _pick(parts: RunParts, final: Final) -> PickSummary:
    assert parts.dataset is not None
    trained = final.trained
    measured = final.measured
    row = _table_pick(final.pick, final.evaluation)
    return replace(
        row,
        search_standard_error=standard_error(
            row.search_accuracy, len(parts.dataset.validation.labels)
        ),
        test_accuracy=trained.test_accuracy,
        test_standard_error=standard_error(trained.test_accuracy, trained.test_size),
        test_accuracy_no_exit=trained.test_accuracy_no_exit,
        latency_measured=final.latency_measured,
        latency_worst_measured=measured.latency_ms[-1] if measured else None,
        exit_thresholds=trained.result.exit_thresholds,
        exit_shares=trained.result.exit_shares,
        picked_after_test=final.picked_after_test,
        export_dir=BEST_DIR if final.pick == "best" else None,
    )


def _table_pick(name: str, evaluation: Evaluation) -> PickSummary:
    """A pick as the search saw it: all there is where nothing was trained."""
    costs, result = evaluation.costs, evaluation.result
    assert costs is not None, "picks have costs"
    assert result is not None, "picks have an accuracy"
    return PickSummary(
        pick=name,
        digest=evaluation.architecture.digest,
        label=evaluation.architecture.label,
        search_accuracy=evaluation.accuracy,
        search_standard_error=0.0,
        latency_predicted=costs.latency_ms,
        latency_worst_predicted=costs.latency_worst_ms,
        energy=costs.energy_mj,
        energy_worst=costs.energy_worst_mj,
        num_params=costs.num_params,
        macs=costs.macs,
        size_bytes=costs.size_bytes,
        exit_thresholds=result.exit_thresholds,
        exit_shares=result.exit_shares,
    )


def _session_summaries(sessions: Sequence[LedgerSession]) -> tuple[SessionSummary, ...]:
    """With one reference point for all hypervolumes: accuracy 0 and the largest latency seen in the run."""
    points = [p for s in sessions for e in s.history if (p := point_of(e)) is not None]
    reference = (0.0, max((p.latency_ms for p in points), default=0.0))
    return tuple(_session_summary(session, reference) for session in sessions)


def _session_summary(session: LedgerSession, reference: tuple[float, float]) -> SessionSummary:
    history = session.history
    good = [e for e in history if e.ok and e.is_full]
    new = [e for e in history if e.is_new]
    strategy, _, seed = session.name.rpartition("-")
    area = hypervolume_2d(
        ((p.accuracy, p.latency_ms) for e in good if (p := point_of(e)) is not None), reference
    )
    return SessionSummary(
        strategy=strategy,
        seed=int(seed),
        budget=session.budget,
        spent=session.spent,
        best_reward=max((e.reward for e in good), default=None),
        best_accuracy=max((e.accuracy for e in good), default=None),
        hypervolume=area,
        front_size=len(pareto_front(good)),
        failed=sum(not e.ok and not e.rejected for e in new),
        rejected=sum(bool(e.rejected) for e in new),
    )


def _data(parts: RunParts) -> DataSummary | None:
    data = parts.dataset
    if data is None:
        return None
    channels, height, width = data.input_shape
    return DataSummary(
        name=data.name,
        digest=data.digest,
        input_shape=(channels, height, width),
        num_classes=data.num_classes,
        train=len(data.train),
        validation=len(data.validation),
        test=len(data.test),
    )


def _limits_text(parts: RunParts) -> str:
    given = {k: v for k, v in parts.limits.model_dump().items() if v is not None}
    return ", ".join(f"{name} ≤ {value:g}" for name, value in given.items()) or "none"
