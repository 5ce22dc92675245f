"""What a compression leaves behind: report and figures in its folder, and last the export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archspace import write_atomic

if TYPE_CHECKING:
    from child_models import Dataset
    from compress import Compressed

STEPS_FILE = "steps.json"


def write_compression(
    compressed: Compressed, dataset: Dataset, device: str, to: Path, folder: Path
) -> None:
    """Report and ``steps.json`` into `folder`, the export to `to`: whoever finds that, finds the others too.

    Args:
        device: name of the device that was measured on.
    """
    # late: usage errors are told before torch is loaded
    from compress import export_compressed
    from service.compression_report import write_compression_report

    write_compression_report(folder, compressed, device, dataset.name)
    text = json.dumps(summary_json(compressed, to, folder), indent=2)
    write_atomic(folder / STEPS_FILE, text + "\n")
    export_compressed(compressed, dataset, device, to)


def summary_json(compressed: Compressed, to: Path, folder: Path) -> dict[str, Any]:
    """What `--json` prints and ``steps.json`` holds."""
    return {
        "steps": [step.to_json() for step in compressed.steps],
        "test_accuracy_before": compressed.test_before,
        "test_accuracy_after": compressed.test_after,
        "notes": list(compressed.notes),
        "directory": str(to),
        "report": str(folder / "report.html"),
    }
