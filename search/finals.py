"""The end of a run: candidates measured, picks fixed on validation, retrained, tested once.

Measurements and final trainings are ledger records: a resumed run replays them instead of doing them again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from archspace import Network, write_atomic
from evaluation import (
    ChildResult,
    ChildTask,
    Evaluation,
    EvaluatorUnavailable,
    FailureReason,
    TrainedChild,
    child_seed,
    expected_cost,
)
from latency_models import Cost, PrefixCosts
from search.front_costs import measure_front, within_limits
from search.pareto import pareto_front, picks
from search.parts import Phase, RunParts
from search.run_errors import DamagedRun

_log = logging.getLogger(__name__)

_CHECKSUMS = "sha256"
FAILED_FINALS = 9
"""Networks of one run that may fail the full training before it is given up."""


@dataclass(frozen=True, kw_only=True)
class Final:
    """One pick after the full schedule. `network` carries the thresholds chosen then.

    `measured` is None where the device is not here.
    """

    pick: str
    evaluation: Evaluation
    network: Network
    trained: TrainedChild
    measured: PrefixCosts | None
    picked_after_test: bool = False

    @property
    def latency_measured(self) -> Cost | None:
        """Expected latency: measured prefixes weighed by the shares of samples that leave there."""
        if self.measured is None:
            return None
        return expected_cost(self.measured.latency_ms, self.trained.result.exit_shares)


def choose(
    parts: RunParts, history: Sequence[Evaluation]
) -> tuple[dict[str, Evaluation], dict[str, PrefixCosts]]:
    """Picks by name, from networks that hold the limits as measured; and the costs of all that were looked at.

    Taking violators out can bring dominated networks to the front, so this repeats until the front holds.
    """
    candidates = worth_picking(parts, history)
    measured: dict[str, PrefixCosts] = {}
    while candidates:
        front = pareto_front(candidates)
        measured |= measure_front(parts, front)
        bad = {
            e.architecture.digest
            for e in front
            if not within_limits(parts.limits, measured[e.architecture.digest])
        }
        if not bad:
            return picks(front).by_name(), measured
        source = measured[front[0].architecture.digest].latency_ms[-1].source
        _log.warning("%d networks of the front miss a limit as %s; taken out", len(bad), source)
        candidates = [e for e in candidates if e.architecture.digest not in bad]
    return {}, measured


def worth_picking(parts: RunParts, history: Sequence[Evaluation]) -> list[Evaluation]:
    """Networks trained in full that reach the objective's accuracy floor; all of them where none does."""
    trained = [e for e in history if e.ok and e.is_full]
    good = [e for e in trained if e.accuracy >= parts.accuracy_floor]
    if trained and not good:
        _log.warning("no network reached the accuracy floor of %.3g", parts.accuracy_floor)
    return good or trained


def final_task(parts: RunParts, evaluation: Evaluation) -> ChildTask:
    """The full-schedule training of one architecture."""
    architecture, fidelity = evaluation.architecture, parts.schedule.final
    return ChildTask(
        architecture=architecture,
        network=parts.resolve(architecture.choices),
        fidelity=fidelity,
        replicate=0,
        seed=child_seed(parts.training_seed, architecture.digest, fidelity, 0),
    )


def train_picks(
    parts: RunParts, history: Sequence[Evaluation]
) -> tuple[dict[str, Evaluation], dict[str, TrainedChild], dict[str, PrefixCosts]]:
    """Picks by name, trained at the full schedule and tested; and the costs of all that were looked at.

    A network that fails its full training is taken out and the picks are fixed again, on validation as before.
    After `FAILED_FINALS` of them there are no picks: the schedule is at fault then, not the networks.
    """
    failed: set[str] = set()
    trained: dict[str, TrainedChild] = {}
    while True:
        left = [e for e in history if e.architecture.digest not in failed]
        chosen, measured = choose(parts, left)
        for digest, outcome in train_finals(parts, tuple(chosen.values())).items():
            if isinstance(outcome, TrainedChild):
                trained[digest] = outcome
            else:
                _log.warning("%s is no pick: %s", digest, failure_text(outcome))
                failed.add(digest)
        if all(e.architecture.digest in trained for e in chosen.values()):
            return chosen, trained, measured
        if len(failed) >= FAILED_FINALS:
            _log.warning("%d networks failed the full training; look at `training`", len(failed))
            return {}, trained, measured


def train_finals(
    parts: RunParts, evaluations: Sequence[Evaluation]
) -> dict[str, TrainedChild | ChildResult]:
    """What came of each architecture at the full schedule, by digest; done ones are read back.

    A child that failed is a `ChildResult` with the reason, and is not tried again: it would fail again.

    Raises:
        EvaluatorUnavailable: the workers of a child were lost again and again.
        DamagedRun: a file of one that is done is not as it was written.
    """
    unique = {e.architecture.digest: e for e in evaluations}
    outcomes: dict[str, TrainedChild | ChildResult] = {}
    for digest in unique:
        record = parts.ledger.get_record(_final_name(digest))
        path = weights_path(parts.run_dir, digest)
        if record is not None and "failure" in record:
            outcomes[digest] = ChildResult(**record | {"failure": FailureReason(record["failure"])})
        elif record is not None and path.is_file():
            outcomes[digest] = _read_final(parts.run_dir, digest, record)
    tasks = [final_task(parts, e) for digest, e in unique.items() if digest not in outcomes]
    if tasks:
        parts.on_phase(
            Phase("finals", f"{len(tasks)} networks at {parts.schedule.final_epochs} epochs")
        )
    for index, outcome in parts.evaluator.train_final(tasks) if tasks else ():
        digest = tasks[index].architecture.digest
        if isinstance(outcome, TrainedChild):
            _save_final(parts.run_dir, digest, outcome)
            record = {**_trained_to_record(outcome), _CHECKSUMS: _checksums(parts.run_dir, digest)}
            parts.ledger.put_record(_final_name(digest), record)
        else:
            parts.ledger.put_record(_final_name(digest), _failure_to_record(outcome))
        outcomes[digest] = outcome
    return outcomes


def failure_text(result: ChildResult) -> str:
    """Why a full training failed, in a few words."""
    return f"its full training failed: {result.failure}: {result.message}"


def make_final(
    parts: RunParts,
    pick: str,
    evaluation: Evaluation,
    trained: Mapping[str, TrainedChild],
    measured: Mapping[str, PrefixCosts],
    *,
    picked_after_test: bool = False,
) -> Final:
    """Put one pick together; its exits get the thresholds that were chosen after the full schedule."""
    digest = evaluation.architecture.digest
    child = trained[digest]
    network = parts.resolve(evaluation.architecture.choices)
    costs = measured.get(digest)
    if costs is not None and costs.latency_ms[-1].source != "measured":
        costs = None  # of a device that is not here there are predictions only
    return Final(
        pick=pick,
        evaluation=evaluation,
        network=network.with_thresholds(child.result.exit_thresholds),
        trained=child,
        measured=costs,
        picked_after_test=picked_after_test,
    )


def weights_path(run_dir: Path, digest: str) -> Path:
    """Where a final's weights are kept."""
    return run_dir / "finals" / f"{digest}.safetensors"


def _quantisation_path(run_dir: Path, digest: str) -> Path:
    return weights_path(run_dir, digest).with_suffix(".quantisation.json")


def _save_final(run_dir: Path, digest: str, child: TrainedChild) -> None:
    """The weights last: where they are, all is."""
    path = weights_path(run_dir, digest)
    path.parent.mkdir(exist_ok=True)
    if child.quantisation is not None:
        write_atomic(_quantisation_path(run_dir, digest), child.quantisation)
    arrays = {name: np.ascontiguousarray(w) for name, w in child.weights.items()}
    write_atomic(path, save(arrays))


def _checksums(run_dir: Path, digest: str) -> dict[str, str]:
    """SHA-256 of a final's files, by name."""
    files = (weights_path(run_dir, digest), _quantisation_path(run_dir, digest))
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


def _read_final(run_dir: Path, digest: str, record: Mapping[str, Any]) -> TrainedChild:
    found = _checksums(run_dir, digest)
    for name, checksum in record.get(_CHECKSUMS, {}).items():  # none in records from before them
        if found.get(name) != checksum:
            path = weights_path(run_dir, digest).with_name(name)
            raise DamagedRun(
                f"{path} is {'not as it was written' if name in found else 'missing'}: put a copy of it back, or delete "
                f"finals/{digest}.* to have that network trained in full again"
            )
    quantised = _quantisation_path(run_dir, digest)
    return TrainedChild(
        **_without_files(record),
        weights=load_file(weights_path(run_dir, digest)),
        quantisation=quantised.read_text(encoding="utf-8") if quantised.is_file() else None,
    )


def _final_name(digest: str) -> str:
    return f"final/{digest}"


def _trained_to_record(child: TrainedChild) -> dict[str, Any]:
    record = asdict(child)
    del record["weights"], record["quantisation"]
    return record


def _failure_to_record(result: ChildResult) -> dict[str, Any]:
    if result.failure is None or result.failure.is_infrastructure:
        raise EvaluatorUnavailable(f"{result.digest}: {failure_text(result)}; resume to try again")
    return {
        "digest": result.digest,
        "failure": result.failure.value,
        "message": result.message,
        "train_seconds": result.train_seconds,
        "worker": result.worker,
    }


def _without_files(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `_trained_to_record` kept, its result as an object."""
    result = dict(record["result"])
    for key in ("exit_thresholds", "exit_shares"):
        result[key] = tuple(result[key])
    kept = {name: value for name, value in record.items() if name != _CHECKSUMS}
    return {**kept, "result": ChildResult(**result)}
