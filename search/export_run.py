"""From a final to an exported folder: the document, and every figure with where it comes from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from archspace import ArchitectureDocument
from deploy import AccuracyFigure, CostFigure, ExportInfo, export_architecture
from evaluation import ChildResult, Evaluation, LimitsConfig
from latency_models import Cost
from search.finals import (
    Final,
    failure_text,
    make_final,
    train_finals,
)
from search.front_costs import measure_front, within_limits
from search.pareto import within_costs
from search.parts import RunParts
from search.suggested import best_suggestion
from search.summary import read_summary

_log = logging.getLogger(__name__)


def export_final(parts: RunParts, final: Final, directory: Path) -> Path:
    """Write the export of one final and return its folder."""
    return export_architecture(
        document_of(parts, final),
        final.trained.weights,
        directory,
        info=info_of(parts, final),
        extra=_quantised_files(final),
    )


def _quantised_files(final: Final) -> dict[str, bytes]:
    """``quantisation.json`` and ``model.int8.onnx`` of a network that runs in INT8."""
    if final.trained.quantisation is None:
        return {}
    from compress import Quantisation, TrainedModel, quantised_files

    model = TrainedModel(
        network=final.network,
        weights={name: np.asarray(w, np.float32) for name, w in final.trained.weights.items()},
        quantisation=Quantisation.from_json(final.trained.quantisation),
    )
    return quantised_files(model)


def document_of(parts: RunParts, final: Final) -> ArchitectureDocument:
    """The architecture file's content: resolved network, thresholds, classes, normalisation."""
    document = plain_document(parts, final.evaluation.architecture.choices)
    assert parts.dataset is not None, "a run that trains has data"
    return replace(
        document,
        network=final.network,
        class_names=parts.dataset.class_names,
        normalization=parts.dataset.normalization,
    )


def plain_document(parts: RunParts, choices: tuple[int, ...]) -> ArchitectureDocument:
    """An architecture without weights: what a run over a table can export."""
    architecture = parts.space.architecture(choices)
    return ArchitectureDocument(
        digest=architecture.digest,
        label=architecture.label,
        network=parts.resolve(choices),
        space={"kind": parts.space.kind, "digest": parts.space.digest},
        choices=parts.space.named(choices),
    )


def info_of(parts: RunParts, final: Final) -> ExportInfo:
    """The figures for the export's README; measured ones apart, since they differ from run to run."""
    assert parts.dataset is not None
    assert parts.device is not None, "a run that trains has a device"
    evaluation, trained = final.evaluation, final.trained
    validation, test = len(parts.dataset.validation.labels), trained.test_size
    costs = evaluation.costs
    assert costs is not None
    assert trained.result.accuracy is not None
    worst = final.measured
    measured: list[CostFigure] = []
    if worst is not None and final.latency_measured is not None:
        measured = [
            _figure("latency", final.latency_measured, "ms"),
            _figure("latency, no exit taken", worst.latency_ms[-1], "ms"),
        ]
        if worst.energy_mj[-1].source == "measured":
            measured.append(_figure("energy, no exit taken", worst.energy_mj[-1], "mJ"))
    return ExportInfo(
        pick=final.pick,
        device=parts.device.name,
        dataset=parts.dataset.name,
        accuracies=(
            AccuracyFigure.of(
                "search (validation, short schedule)", evaluation.accuracy, validation
            ),
            AccuracyFigure.of("validation", trained.result.accuracy, validation),
            AccuracyFigure.of("test", trained.test_accuracy, test),
            AccuracyFigure.of("test, no exit taken", trained.test_accuracy_no_exit, test),
        ),
        costs=(
            _figure("latency", costs.latency_ms, "ms"),
            _figure("latency, no exit taken", costs.latency_worst_ms, "ms"),
            _figure("energy", costs.energy_mj, "mJ"),
        ),
        measurements=tuple(measured),
        exit_shares=trained.result.exit_shares,
        marks=("picked after the test: its test accuracy is not an unbiased estimate",)
        if final.picked_after_test
        else (),
    )


def _figure(name: str, cost: Cost, unit: str) -> CostFigure:
    return CostFigure(name=name, value=cost.value, std=cost.std, unit=unit, source=cost.source)


def export_plain(parts: RunParts, evaluation: Evaluation, directory: Path) -> Path:
    """Write ``architecture.json`` alone: all there is of a network that nobody trained."""
    directory.mkdir(exist_ok=True)
    plain_document(parts, evaluation.architecture.choices).save(directory / "architecture.json")
    return directory


def export_within(parts: RunParts, limits: LimitsConfig, directory: Path) -> tuple[str, str]:
    """Export the most accurate network that holds `limits`, measured where the device is here.

    Asked are the networks that the search evaluated, and its policy, where it has one (see `best_suggestion`).

    Returns:
        (digest, where the network comes from: "archive" or "policy").

    Raises:
        LookupError: no network does; the message says what the smallest one takes.
    """
    history = parts.ledger.evaluations(read_summary(parts.run_dir).session)
    archived = _archived_within(parts, limits, history)
    better_than = archived.accuracy if archived else parts.accuracy_floor
    suggested = best_suggestion(parts, limits, history, better_than=better_than)
    chosen = suggested or archived
    if chosen is None:
        known = [e.costs for e in history if e.ok and e.is_full and e.costs]
        least_ms = min((costs.latency_worst_ms.value for costs in known), default=float("nan"))
        least_mj = min((costs.energy_worst_mj.value for costs in known), default=float("nan"))
        raise LookupError(
            f"no network of this run holds these limits, and its policy knows none; the fastest takes {least_ms:.4g} ms, "
            f"the thriftiest {least_mj:.4g} mJ"
        )
    _export_evaluation(parts, "within the limits", chosen, directory)
    return chosen.architecture.digest, "policy" if suggested else "archive"


def _archived_within(
    parts: RunParts, limits: LimitsConfig, history: Sequence[Evaluation]
) -> Evaluation | None:
    """The most accurate of what the search evaluated that holds `limits`."""
    for candidate in within_costs(history, limits):
        digest = candidate.architecture.digest
        costs = measure_front(parts, [candidate])[digest]
        if within_limits(limits, costs):
            return candidate
        _log.warning(
            "%s takes %.4g ms and %.4g mJ as %s, more than predicted: the next one is tried",
            digest,
            costs.latency_ms[-1].value,
            costs.energy_mj[-1].value,
            costs.latency_ms[-1].source,
        )
    return None


def export_pick(parts: RunParts, pick: str, directory: Path) -> str:
    """Export a pick by name, or any network of the run by digest; returns its digest.

    A network that was not among the run's finals is trained at the full schedule first, and marked as picked
    after the test.

    Raises:
        LookupError: no such network in this run; the message says which names there are.
    """
    summary = read_summary(parts.run_dir)
    history = parts.ledger.evaluations(summary.session)
    by_name = {each.pick: each.digest for each in summary.picks}
    digest = by_name.get(pick, pick)
    found = next(
        (e for e in history if e.ok and e.is_full and e.architecture.digest == digest), None
    )
    if found is None:
        raise LookupError(
            f"no network {pick!r} in this run; there are: {', '.join(by_name) or 'no picks'}, and the digests in "
            f"{parts.run_dir / 'trials.parquet'}"
        )
    _export_evaluation(parts, pick, found, directory)
    return digest


def _export_evaluation(parts: RunParts, pick: str, found: Evaluation, directory: Path) -> None:
    """Train at the full schedule, if that was not done, and write."""
    digest = found.architecture.digest
    if parts.dataset is None:
        export_plain(parts, found, directory)
        return
    measured = measure_front(parts, [found])
    if not within_limits(parts.limits, measured[digest]):
        source = measured[digest].latency_ms[-1].source
        raise LookupError(f"{digest} breaks a limit of this run as {source}; it is not exported")
    trained = train_finals(parts, [found])[digest]
    if isinstance(trained, ChildResult):
        raise LookupError(f"{digest} cannot be exported: {failure_text(trained)}")
    picked = {each.digest for each in read_summary(parts.run_dir).picks}
    final = make_final(
        parts, pick, found, {digest: trained}, measured, picked_after_test=digest not in picked
    )
    export_final(parts, final, directory)
