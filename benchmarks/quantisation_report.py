"""What `quantisation.py` keeps and prints: a row a variant, differences paired by seed, and whether the aims are met."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distillation_report import Paired, paired

FLOAT32 = "float32"
FURTHER = "float32, trained further"
AIMS = {"int8 ptq mse": 1.0, "w4a8 qat ste": 1.5, "w4a8 qat lsq": 1.5}
"""Variant → points of test accuracy that it may lose on average."""
COMPARED = (
    *(
        (f"w{bits} codebook", f"w{bits} grid a {one}")
        for bits in (2, 3, 4)
        for one in ("channel", "layer")
    ),
    *(
        (f"w{bits} codebook, trained", f"w{bits} grid a {one}, trained")
        for bits in (2, 3)
        for one in ("channel", "layer")
    ),
    *((f"w{bits} mixed", f"w{bits} grid a channel") for bits in (3, 4)),
    ("w3 mixed, trained", "w3 grid a channel, trained"),
    ("w4a8 qat lsq", "w4a8 qat ste"),
    ("w4a4 qat lsq", "w4a4 qat ste"),
    ("w4a8 qat noise", "w4a8 qat ste"),
    ("w4a8 qat ste", FURTHER),
    ("w4a8 qat lsq", FURTHER),
)
"""Pairs at equal bits, or at equal size: the first minus the second."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One variant of one network; accuracies are shares. `agreement`: INT8's classes equal to fake quantisation's."""

    data: str
    seed: int
    variant: str
    size_bytes: int
    validation: float
    test: float
    execution: str
    agreement: float | None
    int8_test: float | None
    seconds: float


def read_records(path: Path) -> list[Record]:
    """All whole lines; a torn last one is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(Record(**json.loads(line)))
        except json.JSONDecodeError:
            continue
    return found


def report(records: Sequence[Record]) -> str:
    """Of each data set: Markdown tables, and the aims."""
    parts = []
    for data in dict.fromkeys(r.data for r in records):
        rows: dict[str, dict[int, Record]] = {}
        for r in records:
            if r.data == data:
                rows.setdefault(r.variant, {})[r.seed] = r
        parts += [_losses(data, rows), _differences(rows), _verdict(rows)]
    return "\n\n".join(part for part in parts if part)


def _losses(data: str, rows: Mapping[str, Mapping[int, Record]]) -> str:
    tests = [r.test for r in rows[FLOAT32].values()]
    lines = [
        f"{data}: float32 {statistics.mean(tests):.2%} on test images, {len(tests)} seeds",
        "",
        "| variant | seeds | bytes | points lost, validation | points lost, test (95 % interval) | executed |",
        "|---|---|---|---|---|---|",
    ]
    for name, own in rows.items():
        if name == FLOAT32:
            continue
        size = statistics.mean(r.size_bytes for r in own.values())
        validation, test = (_lost(rows, name, split) for split in ("validation", "test"))
        lines.append(
            f"| {name} | {len(own)} | {size:,.0f} | {_spread(validation)} | {_spread(test)} {_interval(test)} "
            f"| {_executed(list(own.values()))} |"
        )
    return "\n".join(lines)


def _executed(own: Sequence[Record]) -> str:
    how = own[0].execution
    if how == "int8":
        agreement = statistics.mean(r.agreement or 0 for r in own)
        how += f", {agreement:.1%} of classes as fake-quantised"
    return how


def _differences(rows: Mapping[str, Mapping[int, Record]]) -> str:
    found = []
    for ours, theirs in COMPARED:
        if ours not in rows or theirs not in rows:
            continue
        shared = sorted(rows[ours].keys() & rows[theirs].keys())
        if shared:
            gains = [100 * (rows[ours][seed].test - rows[theirs][seed].test) for seed in shared]
            found.append(
                f"| {ours} − {theirs} | {len(shared)} | {_spread(gains, sign='+')} {_interval(gains)} |"
            )
    head = [
        "| the first minus the second | seeds | points, test (95 % interval) |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *found]) if found else ""


def _verdict(rows: Mapping[str, Mapping[int, Record]]) -> str:
    lines = []
    for name, most in AIMS.items():
        if name in rows:
            lost = _points(_lost(rows, name, "test"))
            word = "met" if lost <= most else "MISSED"
            lines.append(f"{word}: {name}: {lost:.2f} points lost (aim: {most:g})")
    return "\n".join(lines)


def _lost(rows: Mapping[str, Mapping[int, Record]], name: str, split: str) -> list[float]:
    """Points against the float32 network of the same seed."""
    before = rows[FLOAT32]
    return [
        100 * (getattr(before[seed], split) - getattr(r, split)) for seed, r in rows[name].items()
    ]


def _spread(values: Sequence[float], sign: str = "") -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{_points(values):{sign}.2f} ± {deviation:.2f}"


def _points(values: Sequence[float]) -> float:
    """The mean as it is printed, but never -0.00."""
    return round(statistics.mean(values), 2) + 0.0


def _interval(values: Sequence[float]) -> str:
    found: Paired = paired(values, [0.0] * len(values))
    return f"({found.low:+.2f} to {found.high:+.2f})"
