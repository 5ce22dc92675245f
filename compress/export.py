"""The result of a pipeline as an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from child_models import Dataset
from compress.figures import Figures
from compress.pipeline import Compressed
from compress.quantisation.export import quantised_files
from compress.stored_models import document_for
from deploy import AccuracyFigure, CostFigure, ExportInfo, export_architecture


def export_compressed(
    compressed: Compressed, dataset: Dataset, device: str, directory: Path
) -> Path:
    """Write the last step's model as `netlathe verify` accepts it; returns the folder.

    Args:
        device: name of the device that the costs are for.
    """
    last = compressed.steps[-1].after
    document = replace(
        document_for(compressed.stored),
        class_names=dataset.class_names,
        normalization=dataset.normalization,
    )
    return export_architecture(
        document,
        compressed.stored.model.weights,
        directory,
        info=ExportInfo(
            pick="compressed",
            device=device,
            dataset=dataset.name,
            accuracies=(
                AccuracyFigure.of("validation", last.accuracy, len(dataset.validation)),
                AccuracyFigure.of("test", compressed.test_after, len(dataset.test)),
                AccuracyFigure.of(
                    "test, before compression", compressed.test_before, len(dataset.test)
                ),
            ),
            costs=(_energy(last),) if last.energy_source != "measured" else (),
            measurements=_measured(last),
        ),
        extra=quantised_files(compressed.stored.model),
    )


def _measured(figures: Figures) -> tuple[CostFigure, ...]:
    costs = [
        (
            "latency of a call with 1 image, no exit taken",
            figures.latency_ms_b1,
            figures.latency_std_ms_b1,
        ),
        (
            "latency of a call with 16 images, no exit taken",
            figures.latency_ms_b16,
            figures.latency_std_ms_b16,
        ),
    ]
    measured = [
        CostFigure(name=name, value=value, std=std, unit="ms", source="measured")
        for name, value, std in costs
    ]
    return (*measured, *((_energy(figures),) if figures.energy_source == "measured" else ()))


def _energy(figures: Figures) -> CostFigure:
    return CostFigure(
        name="energy, no exit taken",
        value=figures.energy_mj,
        std=figures.energy_std_mj,
        unit="mJ",
        source=figures.energy_source,
    )
