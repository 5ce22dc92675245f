"""`netlathe bench latency`: devices learnt from few measurements, judged on a table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from archspace import write_atomic
from latency_models import BenchRecord, ChoiceTable, LatencyBench
from service.errors import NotFoundError, UsageError
from service.latency_inputs import named_space
from service.output import print_lines, print_table, talk

MEAN = "mean"


def run_bench_latency(
    table: Path,
    space: str,
    *,
    devices: Sequence[str],
    references: Sequence[str],
    samples: str,
    seeds: int,
    select: str,
    json_out: Path | None,
) -> None:
    """Run all of it with a progress bar, print the table, and write the records."""
    if not table.is_file():
        raise NotFoundError(f"no table at {table}")
    if json_out is not None and not json_out.absolute().parent.is_dir():
        raise NotFoundError(f"no folder {json_out.absolute().parent} to write {json_out.name} into")
    if select not in ("designed", "random"):
        raise UsageError(f"--select: expected designed or random, got {select!r}")
    devices, references = list(dict.fromkeys(devices)), list(dict.fromkeys(references))
    counts = parse_counts("--samples", samples)
    try:
        searched = named_space(space)
        bench = LatencyBench(
            space=searched,
            table=ChoiceTable.read(table, searched, [*devices, *references]),
            devices=devices,
            references=references,
            samples=counts,
            num_seeds=seeds,
            selection="random" if select == "random" else "designed",
        )
        bench.check()
    except ValueError as error:
        raise UsageError(str(error)) from error
    records = _run(bench)
    if json_out is not None:
        write_atomic(json_out, json.dumps({"records": [asdict(r) for r in records]}, indent=1))
    _print(records, devices, counts)
    if json_out is not None:
        print_lines(f"records  {json_out}")


def parse_counts(option: str, text: str) -> list[int]:
    """``"10,20"`` → [10, 20], in rising order. Raises UsageError."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1:
        raise UsageError(
            f"{option}: expected whole numbers with commas, such as 10,50, got {text!r}"
        )
    return counts


def _run(bench: LatencyBench) -> list[BenchRecord]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    records = []
    with Progress(*columns, console=talk, transient=True) as progress:
        task = progress.add_task("fitting", total=bench.num_records)
        for record in bench.run():
            records.append(record)
            progress.update(task, advance=1, description=f"seed {record.seed}, {record.device}")
    return records


def _print(records: Sequence[BenchRecord], devices: Sequence[str], counts: Sequence[int]) -> None:
    groups: dict[tuple[str, int], list[BenchRecord]] = defaultdict(list)
    for record in records:
        groups[record.device, record.samples].append(record)
        if len(devices) > 1:
            groups[MEAN, record.samples].append(record)
    names = [*devices, *([MEAN] if len(devices) > 1 else [])]
    rows = [_row(name, count, groups[name, count]) for name in names for count in counts]
    columns = (
        "device", "samples", "Spearman", "Kendall", "MAPE %", "within ±5 %", "within ±10 %",
        "inside 90 % interval", "fit s",
    )  # fmt: skip
    print_table("Predictions on architectures not measured, mean over seeds", columns, rows)


def _row(name: str, count: int, records: Sequence[BenchRecord]) -> tuple[str, ...]:
    spearman = [record.spearman for record in records]
    spread = f" ± {stdev(spearman):.3f}" if len(spearman) > 1 and name != MEAN else ""
    shares = ("mape", "within_5", "within_10", "coverage_90")
    return (
        name,
        str(count),
        f"{fmean(spearman):.3f}{spread}",
        f"{fmean(record.kendall for record in records):.3f}",
        *(f"{100 * fmean(getattr(record, share) for record in records):.1f}" for share in shares),
        f"{fmean(record.fit_seconds for record in records):.2f}",
    )
