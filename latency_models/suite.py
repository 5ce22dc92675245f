"""Writes a measuring suite: ONNX files that someone times on a device where Python does not run.

Held-out networks are measured three times, at the beginning, in the middle and at the end, so that the noise
ceiling includes the device's drift; so is the empty call, which everything depends on. The reference network comes
again every 16 rows: what counts later are ratios to it (see `suite_import`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from archspace import Block, Network, SearchSpace, network_to_dict, new_folder, write_atomic
from child_models import build_for_measuring, count_macs, count_params
from latency_models.energy import estimate_mj
from latency_models.features import block_digest
from latency_models.measuring import reference_network
from latency_models.sampling import (
    blocks_to_measure,
    call_network,
    profile_networks,
    spread_over_costs,
)
from latency_models.suite_manifest import MEASUREMENTS_FILE, Role, SuiteFile, SuiteManifest
from latency_models.suite_measurements import LARGEST_CHANGE

REFERENCE_EVERY = 16
"""Rows from one reference to the next."""
RUNS = 3
"""Of each held-out network and of the empty call; all others are measured once."""
COLUMNS = ("file", "run", "latency_ms", "energy_mj")

_FOLDER = "onnx"


class SuiteConfig(BaseModel):
    """How much there will be to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    num_networks: int = Field(default=120, ge=8, le=10000)
    """Whole networks that the correction is fitted on."""
    num_held_out: int = Field(default=48, ge=8, le=10000)
    """Whole networks that the model is judged on, each measured three times; they are in no fit."""
    num_blocks: int = Field(default=80, ge=8, le=100000)
    """Blocks measured one by one; the most useful first."""
    batch_size: int = Field(default=1, ge=1, le=65536)
    """Images in one call."""
    seed: int = Field(default=0, ge=0)
    """Decides which networks are chosen."""


class _Item(NamedTuple):
    """One file to come."""

    role: Role
    number: int
    network: Network
    block: Block | None = None

    @property
    def file(self) -> str:
        if self.role in ("reference", "call"):
            return f"{_FOLDER}/{self.role}.onnx"
        name = self.role.replace("_", "-")
        return f"{_FOLDER}/{name}-{self.number:03}-{self.network.digest}.onnx"


def write_suite(
    space: SearchSpace, directory: Path, config: SuiteConfig | None = None
) -> SuiteManifest:
    """Write a suite for `space` into `directory`; whole or not at all. Equal input gives equal files.

    Raises:
        FileExistsError: `directory` is there and not an empty folder.
        ValueError: the space has too few distinct networks.
    """
    config = config or SuiteConfig()
    with new_folder(directory) as folder:
        items, num_blocks_used = _choose(space, config)
        (folder / _FOLDER).mkdir()
        manifest = SuiteManifest(
            netlathe_version=version("netlathe"),
            space_digest=space.digest,
            batch_size=config.batch_size,
            seed=config.seed,
            num_blocks_used=num_blocks_used,
            files=tuple(_write_network(folder, item, config.batch_size) for item in items),
        )
        write_atomic(folder / MEASUREMENTS_FILE, _table(measuring_order(manifest)))
        write_atomic(folder / "README.md", _readme(manifest))
        manifest.save(folder)
    return manifest


def measuring_order(manifest: SuiteManifest) -> list[tuple[str, int]]:
    """(file, run) of each row to measure, in order; the reference first, last and every 16 rows."""
    rng = np.random.default_rng(manifest.seed)
    often = [*manifest.of_role("call"), *manifest.of_role("held_out")]
    first, middle, last = (
        [(often[i].file, run) for i in rng.permutation(len(often))] for run in range(1, RUNS + 1)
    )
    blocks = [(file.file, 1) for file in manifest.of_role("block")]
    rng.shuffle(blocks)  # a stretch that is lost should not take the only blocks of a kind with it
    networks = [(file.file, 1) for file in manifest.of_role("network")]
    rows = [*first, *blocks, *middle, *networks, *last]
    return list(_with_references(rows, manifest.of_role("reference")[0].file))


def _with_references(rows: Sequence[tuple[str, int]], reference: str) -> Iterator[tuple[str, int]]:
    runs = itertools.count(1)
    for index, row in enumerate(rows):
        if index % (REFERENCE_EVERY - 1) == 0:
            yield reference, next(runs)
        yield row
    yield reference, next(runs)


def _choose(space: SearchSpace, config: SuiteConfig) -> tuple[list[_Item], int]:
    """What goes into the suite, and how many distinct blocks the space has."""
    networks = profile_networks(
        space, config.num_networks, config.num_held_out, np.random.default_rng(config.seed)
    )
    used = blocks_to_measure(space, networks.candidates)
    to_fit = spread_over_costs(
        networks.candidates, lambda n: estimate_mj(n, config.batch_size), config.num_networks
    )
    blocks = {block.as_network().digest: block for block in used[: config.num_blocks]}
    items = [
        _Item("reference", 0, reference_network()),
        _Item("call", 0, call_network()),
        *(_Item("held_out", i, n) for i, n in enumerate(networks.held_out)),
        *(_Item("block", i, b.as_network(), b) for i, b in enumerate(blocks.values())),
        *(_Item("network", i, n) for i, n in enumerate(to_fit)),
    ]
    return items, len(used)


def _write_network(folder: Path, item: _Item, batch_size: int) -> SuiteFile:
    model = build_for_measuring(item.network, batch=batch_size)
    content = model.SerializeToString(deterministic=True)
    write_atomic(folder / item.file, content)
    return SuiteFile(
        file=item.file,
        role=item.role,
        network_digest=item.network.digest,
        block_digest=block_digest(item.block) if item.block else None,
        input_name=model.graph.input[0].name,
        input_shape=(batch_size, *item.network.input_shape),
        sha256=hashlib.sha256(content).hexdigest(),
        macs=count_macs(item.network),
        num_params=count_params(item.network),
        network=network_to_dict(item.network),
    )


def _table(rows: Sequence[tuple[str, int]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((file, run, "", "") for file, run in rows)
    return text.getvalue()


def _readme(manifest: SuiteManifest) -> str:
    return _README.format(
        files=len(manifest.files),
        rows=len(measuring_order(manifest)),
        batch=manifest.batch_size,
        name=manifest.of_role("reference")[0].input_name,
    )


_README = (
    """\
# Measure these networks on your device

`{folder}/` holds {files} networks as ONNX files; `measurements.csv` has {rows} rows to fill in. Copy the folder to the
device, or convert the files for its runtime. Then, for each row of `measurements.csv`, **in the order given**:

1. Load the file. Its only input is `{name}`, float32; the batch size is {batch} and fixed in the file. Any numbers will do as
   input; random ones between -1 and 1 are good.
2. Warm up: run it at least 10 times.
3. Time at least 50 single runs, each from handing in the input to having all outputs. Write their **median**, in
   milliseconds, into `latency_ms`.
4. If the device can tell what energy one run takes, write it in millijoules into `energy_mj`. Else leave that
   column empty.

What makes the figures good:

- One setting for all rows: the same number of threads, the same runtime, the same clock and power mode.
- Keep the device quiet: no other programs, no screen, on mains power, not hot.
- If it cannot be quiet, go through the whole table several times and keep each row's smallest median: disturbances
  only ever slow a network down.
- Keep the order. `{folder}/reference.onnx` comes again every {every} rows; all else is compared with the references around it,
  so a device that gets warm and slow does no harm. Rows of a sorted table would be compared with nothing.
- Where a reference differs from the one before by more than {change} %, the rows between them are left out: wait until the
  device is quiet, and measure those rows and that reference again.
- Leave cells empty where a network failed. Do not write 0.
- Numbers are written with a point (0.125), cells are separated by commas.

Back where Netlathe is:

    netlathe latency import THIS_FOLDER --name "my device" --out device.json

`manifest.json` says what each file is; do not change it.
""".replace("{folder}", _FOLDER)
    .replace("{every}", str(REFERENCE_EVERY))
    .replace("{change}", f"{100 * LARGEST_CHANGE:.0f}")
)
