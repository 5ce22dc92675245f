"""`netlathe bench search`: searchers at equal numbers of new evaluations, on a table of measured results."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from archspace import write_atomic
from latency_models import ChoiceTable
from search import (
    ASYNCHRONOUS_BENCH_STRATEGIES,
    BENCH_COLUMNS,
    BENCH_STRATEGIES,
    Goal,
    SearchBench,
    SearchRecord,
    bench_rows,
    write_bench_plot,
)
from service.errors import ConflictError, NotFoundError, UsageError
from service.latency_inputs import named_space
from service.output import print_lines, print_table, talk

Task = tuple[str, int]
"""(strategy, seed)."""


@dataclass(frozen=True, kw_only=True)
class BenchArguments:
    """What the command line says; small enough to send to other processes."""

    table: Path
    space: str
    accuracy: str
    latency: str | None
    energy: str | None
    report: tuple[str, ...]
    objective: str
    budgets: tuple[int, ...]
    batch: int
    window: int | None
    costs: str

    def bench(self) -> SearchBench:
        """Read the table and check everything. Raises UsageError, NotFoundError."""
        if not self.table.is_file():
            raise NotFoundError(f"no table at {self.table}")
        goal: dict[str, Goal] = {name: name for name in get_args(Goal)}
        if self.objective not in goal:
            raise UsageError(f"--objective: expected {', '.join(goal)}, got {self.objective!r}")
        if self.costs not in ("table", "fitted"):
            raise UsageError(f"--costs: expected table or fitted, got {self.costs!r}")
        columns = [self.accuracy, *filter(None, (self.latency, self.energy)), *self.report]
        try:
            space = named_space(self.space)
            bench = SearchBench(
                space=space,
                table=ChoiceTable.read(self.table, space, list(dict.fromkeys(columns))),
                accuracy=self.accuracy,
                latency=self.latency,
                energy=self.energy,
                report=self.report,
                goal=goal[self.objective],
                budgets=self.budgets,
                batch_size=self.batch,
                window=self.window,
                fitted_costs=self.costs == "fitted",
            )
            bench.check()
        except ValueError as error:
            raise UsageError(str(error)) from error
        return bench


def run_bench_search(
    arguments: BenchArguments,
    *,
    strategies: Sequence[str],
    seeds: int,
    workers: int,
    json_out: Path | None,
    plot_out: Path | None,
) -> None:
    """Run all of it with a progress bar, print the table, and write records and plot."""
    unknown = [name for name in strategies if name not in BENCH_STRATEGIES]
    if unknown or not strategies:
        raise UsageError(
            f"--strategies: expected some of {','.join(BENCH_STRATEGIES)}; got {','.join(unknown) or 'none'}"
        )
    waiting = [name for name in strategies if name not in ASYNCHRONOUS_BENCH_STRATEGIES]
    if arguments.window is not None and waiting:
        raise UsageError(
            f"--window: {','.join(waiting)} wait for whole batches; "
            f"--strategies may be {','.join(ASYNCHRONOUS_BENCH_STRATEGIES)} with it"
        )
    for out in filter(None, (json_out, plot_out)):
        if not out.absolute().parent.is_dir():
            raise NotFoundError(f"no folder {out.absolute().parent} to write {out.name} into")
    arguments.bench()  # wrong input is told here, not by a worker
    tasks = [(name, seed) for seed in range(seeds) for name in dict.fromkeys(strategies)]
    done = _Finished(json_out, arguments)
    for task, records in _run(arguments, [t for t in tasks if t not in done.records], workers):
        done.add(task, records)
    records = [
        record
        for name in dict.fromkeys(strategies)
        for s in range(seeds)
        for record in done.records[name, s]
    ]
    if json_out is not None:
        text = json.dumps({"records": [asdict(r) for r in records]}, indent=1, allow_nan=False)
        write_atomic(json_out, text)
        done.forget()
    title = f"{arguments.objective}: {arguments.accuracy}"
    print_table(f"{title}, means over seeds", BENCH_COLUMNS, bench_rows(records))
    if plot_out is not None:
        write_bench_plot(records, title, plot_out)
        print_lines(f"plot     {plot_out}")
    if json_out is not None:
        print_lines(f"records  {json_out}")


class _Finished:
    """Records of finished tasks; beside ``--json OUT`` in OUT.partial, so that a stopped bench goes on there."""

    def __init__(self, json_out: Path | None, arguments: BenchArguments) -> None:
        self.records: dict[Task, list[SearchRecord]] = {}
        self._path = json_out.with_name(json_out.name + ".partial") if json_out else None
        header = {
            "kind": "netlathe_bench_search",
            **asdict(arguments),
            "table": str(arguments.table),
        }
        self._header: dict[str, Any] = json.loads(json.dumps(header))
        if self._path is not None:
            self._read(self._path)

    def _read(self, path: Path) -> None:
        if not path.is_file():
            path.write_text(json.dumps(self._header) + "\n", encoding="utf-8")
            return
        whole = path.read_bytes().rpartition(b"\n")[0]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise ConflictError(
                f"{path}: expected a bench's finished records ({error}); delete it"
            ) from error
        if not lines or lines[0] != self._header:
            raise ConflictError(
                f"{path} is of a bench with other settings; delete it, or give another --json"
            )
        path.write_bytes(whole + b"\n")  # without a torn last line
        for line in lines[1:]:
            task = (str(line["strategy"]), int(line["seed"]))
            self.records[task] = [SearchRecord(**record) for record in line["records"]]
        if self.records:
            talk.print(f"{len(self.records)} of its runs were finished before")

    def add(self, task: Task, records: list[SearchRecord]) -> None:
        self.records[task] = records
        if self._path is not None:
            line = {"strategy": task[0], "seed": task[1], "records": [asdict(r) for r in records]}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def forget(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _run(
    arguments: BenchArguments, tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, list[SearchRecord]]]:
    """Finished tasks as they come."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=talk, transient=True) as progress:
        bar = progress.add_task("searching", total=len(tasks))
        for task, records in _finished(arguments, tasks, workers):
            progress.update(bar, advance=1, description=f"{task[0]}, seed {task[1]}")
            yield task, records


def _finished(
    arguments: BenchArguments, tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, list[SearchRecord]]]:
    if not tasks:
        return
    if workers == 1:
        bench = arguments.bench()
        for name, seed in tasks:
            yield (name, seed), list(bench.run(name, seed))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_prepare, initargs=(arguments,)
    ) as pool:
        futures = {pool.submit(_search, name, seed): (name, seed) for name, seed in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_bench: SearchBench | None = None
"""In a worker."""


def _prepare(arguments: BenchArguments) -> None:
    """In a worker: read the table once; one thread each, for the workers share the cores."""
    global _bench
    import torch

    torch.set_num_threads(1)
    _bench = arguments.bench()


def _search(strategy: str, seed: int) -> list[SearchRecord]:
    assert _bench is not None, "the worker was prepared"
    return list(_bench.run(strategy, seed))
