"""`netlathe train`: the reference consumer of an exported architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from service.errors import ConflictError, NotFoundError, UsageError
from service.output import print_json, print_lines, talk

EMBEDDED = ("digits", "shapes")


def run_train(
    source: Path, data: str, *, epochs: int, seed: int, threads: int, to: Path | None, as_json: bool
) -> None:
    """Train from scratch, choose exit thresholds on validation data, test once, export on request."""
    file = source / "architecture.json" if source.is_dir() else source
    if not file.is_file():
        raise NotFoundError(f"no architecture at {file}")
    if to is not None and to.exists():
        raise ConflictError(f"{to} already exists; choose another --to")
    import torch

    from archspace import ArchitectureDocument
    from child_models import TrainingConfig, apply_exits, evaluate_network, train_child

    document = ArchitectureDocument.load(file)
    dataset = _dataset(data)
    network = document.network
    if (network.input_shape, network.num_classes) != (dataset.input_shape, dataset.num_classes):
        raise UsageError(
            f"{file} expects images of {_size(network.input_shape)} and {network.num_classes} classes; "
            f"{data} has {_size(dataset.input_shape)} and {dataset.num_classes}"
        )
    torch.set_num_threads(threads)
    talk.print(f"training {document.digest} for {epochs} epochs …")
    trained = train_child(network, dataset, TrainingConfig(), epochs=epochs, seed=seed)
    logits = evaluate_network(network, trained.weights, dataset.test, dataset)
    predictions, exits = apply_exits(logits, trained.exit_choice.thresholds)
    accuracy = float((predictions == dataset.test.labels).mean())
    result: dict[str, Any] = {
        "digest": document.digest,
        "epochs": epochs,
        "seed": seed,
        "threads": threads,
        "validation_accuracy": trained.exit_choice.accuracy,
        "test_accuracy": accuracy,
        "test_images": len(dataset.test.labels),
        "exit_thresholds": list(trained.exit_choice.thresholds),
        "test_exit_shares": [float((exits == e).mean()) for e in range(len(network.heads))],
        "train_seconds": trained.train_seconds,
    }
    if to is not None:
        _export(document, dataset, trained, accuracy, to)
        result["directory"] = str(to)
    if as_json:
        print_json(result)
        return
    print_lines(
        f"test accuracy {100 * accuracy:.2f} % on {result['test_images']} images "
        f"(validation {100 * trained.exit_choice.accuracy:.2f} %)",
        f"{trained.train_seconds:.1f} s for {epochs} epochs",
        *([f"wrote {to}"] if to is not None else []),
    )


def _size(shape: Any) -> str:
    return "×".join(map(str, shape))


def _dataset(data: str) -> Any:
    from child_models import DigitsConfig, ShapesConfig, inspect_path, load_data

    if data in EMBEDDED and not Path(data).exists():
        return load_data(DigitsConfig() if data == "digits" else ShapesConfig())
    path = Path(data)
    if not path.exists():
        raise NotFoundError(f"no data at {data}; a path, or one of: {', '.join(EMBEDDED)}")
    return load_data(inspect_path(path))


def _export(document: Any, dataset: Any, trained: Any, accuracy: float, to: Path) -> None:
    from deploy import AccuracyFigure, ExportInfo, export_architecture

    network = document.network.with_thresholds(tuple(trained.exit_choice.thresholds))
    figures = (
        ("validation", trained.exit_choice.accuracy, dataset.validation),
        ("test", accuracy, dataset.test),
    )
    export_architecture(
        replace(
            document,
            network=network,
            class_names=dataset.class_names,
            normalization=dataset.normalization,
        ),
        trained.weights,
        to,
        info=ExportInfo(
            pick="trained",
            device="",
            dataset=dataset.name,
            accuracies=tuple(
                AccuracyFigure.of(name, value, len(split.labels)) for name, value, split in figures
            ),
            exit_shares=tuple(trained.exit_choice.shares),
        ),
    )
