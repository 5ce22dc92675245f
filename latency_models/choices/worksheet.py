"""A folder to take to a new device: a few networks as ONNX files, and a table to fill in with their latencies."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from archspace import NasBench201Space, SearchSpace, new_folder, write_atomic
from child_models import build_for_measuring
from latency_models.choices.encoding import Choices
from latency_models.choices.table import ARCH_STR

TABLE_FILE = "measurements.csv"
LATENCY_COLUMN = "latency_ms"
_FOLDER = "onnx"


def write_worksheet(
    space: SearchSpace, choices: Choices, directory: Path, *, batch_size: int = 1
) -> None:
    """Write ``measurements.csv``, ``onnx/`` and ``README.md``; whole or not at all.

    The table has a row a network: its file, its architecture as `ChoiceTable.read` reads it, and an empty latency.

    Args:
        space, choices: (architectures, decisions) of it, in the order in which they should be measured.
        directory: new, or an empty folder.
        batch_size: images in a call.

    Raises:
        FileExistsError: `directory` is there and not an empty folder.
    """
    with new_folder(directory) as folder:
        (folder / _FOLDER).mkdir()
        names = []
        for number, row in enumerate(choices.tolist(), start=1):
            network = space.resolve(row)
            names.append(f"{_FOLDER}/{number:03}-{network.digest}.onnx")
            model = build_for_measuring(network, batch=batch_size)
            write_atomic(folder / names[-1], model.SerializeToString(deterministic=True))
        write_atomic(folder / TABLE_FILE, _table(space, choices, names))
        write_atomic(folder / "README.md", _README.format(batch=batch_size))


def _table(space: SearchSpace, choices: Choices, files: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = choices.tolist()
    if isinstance(space, NasBench201Space):
        writer.writerow(("file", ARCH_STR, LATENCY_COLUMN))
        writer.writerows((f, space.arch_str(row), "") for f, row in zip(files, rows, strict=True))
    else:
        writer.writerow(("file", *(d.name for d in space.decisions), LATENCY_COLUMN))
        for file, row in zip(files, rows, strict=True):
            writer.writerow((file, *space.named(row).values(), ""))
    return text.getvalue()


_README = """\
# Measure these networks on your device

For each row of `measurements.csv`, from the top: load the file with the device's runtime (its batch size is {batch}), run it 10
times to warm up, time at least 50 runs one by one, and write their median in milliseconds into `latency_ms`.

- One setting for all: threads, runtime, clock and power mode; nothing else running.
- Any beginning of the table is a good choice: ten rows are enough for a first answer, more make it surer.
- Leave a cell empty where a network failed or was not measured. Do not write 0. Numbers have a point: 0.125.

Back where Netlathe is, with the same SPACE (a run file, or nasbench201) and the same devices for --reference-file, if any:

    netlathe latency fit THIS_FOLDER/measurements.csv --space SPACE --device latency_ms --out device.safetensors
"""
