"""Suites filled in by devices made of formulas."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from archspace import Network
from latency_models import SuiteConfig, SuiteManifest

SMALL = SuiteConfig(num_networks=40, num_held_out=16, num_blocks=40, seed=1)
Row = dict[str, str]


def read_table(suite: Path) -> list[Row]:
    with (suite / "measurements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def measured_rows(
    suite: Path,
    true_ms: Callable[[Network], float],
    *,
    speed: Callable[[float], float] = lambda moment: 1.0,
    noise: float = 0.0,
    watts: float | None = None,
) -> list[Row]:
    """The suite's table as a person brings it back.

    Args:
        suite: as exported.
        true_ms: what a network takes.
        speed: factor on it at a moment, 0 (first row) to 1 (last row).
        noise: relative standard deviation of each figure.
        watts: power, where the device tells energies (mJ = W · ms).
    """
    rng = np.random.default_rng(0)
    times = {f.file: true_ms(f.resolve()) for f in SuiteManifest.load(suite).files}
    rows = read_table(suite)
    for i, row in enumerate(rows):
        factor = speed(i / (len(rows) - 1)) * (1 + noise * rng.standard_normal())
        row["latency_ms"] = repr(times[row["file"]] * factor)
        if watts is not None:
            row["energy_mj"] = repr(watts * times[row["file"]])
    return rows
