"""How good `netlathe latency profile` is on this machine, beside simpler ways that had the same time.

    python benchmarks/profiling.py configs/digits.yaml --work profiling --scales 0.5 1 2 --alternatives

For each size of image, runtime, number of threads and batch size (a *cell*): profile the config's space, then judge
the predictions on random networks that no profile used, measured twice. Judged on the smaller of the two
measurements; the noise, in brackets, is the second one taken as a prediction of the first. Each cell is kept as a
JSON file in --work, and not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from profiling_cell import OnProgress, draw_test, measure_cell
from profiling_records import Cell, Judgement, Plan, Row
from pydantic import ValidationError
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from archspace import SearchSpace, Shape, StagedSpace, StagedSpaceConfig, write_atomic
from child_models import load_data
from service.config_file import read_mapping, validate
from service.output import print_lines, print_table, talk
from service.run_config import RunConfig

COLUMNS = (
    "size", "runtime", "threads", "batch", "budget s", "method", "Spearman", "Kendall", "MAPE %",
    "within 5 %", "within 10 %", "coverage %", "networks", "seconds",
)  # fmt: skip
AIMS: dict[str, Callable[[Judgement], bool]] = {
    "Spearman ≥ 0.97": lambda judged: judged.spearman >= 0.97,
    "≥ 85 % within ± 10 %": lambda judged: judged.within_10 >= 0.85,
    "coverage 85–95 %": lambda judged: (
        judged.coverage is not None and 0.85 <= judged.coverage <= 0.95
    ),
}
MEDIANS = ("Spearman", "Kendall", "MAPE %", "within 5 %", "within 10 %", "coverage %")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    handler = RichHandler(console=talk, show_time=False, show_path=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    config = validate(RunConfig, read_mapping(options.config), str(options.config))
    options.work.mkdir(parents=True, exist_ok=True)
    spaces = {size: make_space(config, size) for size in options.sizes}
    plans = list(make_plans(options, config, spaces))
    stored = [read_cell(options.work, plan) for plan in plans]  # before anything is measured
    cells = []
    with _progress() as progress:
        task = progress.add_task("", total=len(plans))
        for plan, cell in zip(plans, stored, strict=True):
            if cell is None:

                def say(what: str, name: str = plan.name) -> None:
                    progress.update(task, description=f"{name}: {what}", refresh=True)

                cell = new_cell(plan, spaces[plan.size], say)
                write_atomic(cell_path(options.work, plan), cell.model_dump_json(indent=1) + "\n")
                talk.print(f"{plan.name}: measured")
            cells.append(cell)
            progress.update(task, advance=1, description="", refresh=True)
    print_cells(cells)
    return 0


def new_cell(plan: Plan, space: SearchSpace, say: OnProgress) -> Cell:
    """Draw the test networks, the same ones for all cells of a space, and measure."""
    say("drawing test networks")
    test = draw_test(space, [plan.scaled(scale) for scale in plan.scales], plan.num_test)
    return measure_cell(plan, space, test, say)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="run file with a staged space and data")
    parser.add_argument("--work", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32, 96], help="pixels")
    parser.add_argument(
        "--runtimes",
        nargs="+",
        default=["torch", "onnxruntime"],
        choices=["torch", "onnxruntime"],
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--budget-s", type=float, default=60.0, help="seconds of a profile")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], help="of the budget")
    parser.add_argument("--test", type=int, default=64, help="networks that are judged on")
    parser.add_argument("--alternatives", action="store_true", help="compare with simpler ways")
    options = parser.parse_args(arguments)
    if min(options.scales) <= 0 or options.budget_s <= 0 or options.test < 2:
        parser.error("--scales and --budget-s must be above 0, --test at least 2")
    return options


def make_space(config: RunConfig, size: int) -> SearchSpace:
    """The config's space for images of `size` × `size` pixels."""
    if config.data is None or not isinstance(config.space, StagedSpaceConfig):
        raise SystemExit(
            "expected a config with data and a staged space, such as configs/digits.yaml"
        )
    data = load_data(config.data)
    shape = Shape(data.input_shape.channels, size, size)
    return StagedSpace(config.space, input_shape=shape, num_classes=data.num_classes)


def make_plans(
    options: argparse.Namespace, config: RunConfig, spaces: dict[int, SearchSpace]
) -> Iterator[Plan]:
    for size, runtime, threads, batch in itertools.product(
        options.sizes, options.runtimes, options.threads, options.batches
    ):
        device = {"runtime": runtime, "threads": threads, "batch_size": batch}
        yield Plan(
            space=spaces[size].digest,
            size=size,
            device=type(config.device)(**{**config.device.model_dump(), **device}),
            profile=config.profile,
            budget_s=options.budget_s,
            scales=tuple(dict.fromkeys(options.scales)),
            num_test=options.test,
            alternatives=options.alternatives,
        )


def cell_path(work: Path, plan: Plan) -> Path:
    return work / f"{plan.name}.json"


def read_cell(work: Path, plan: Plan) -> Cell | None:
    """A cell measured before; None where there is none. Ends the program where it is one of another plan."""
    path = cell_path(work, plan)
    if not path.is_file():
        return None
    try:
        cell = Cell.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise SystemExit(
            f"{path}: expected a cell of this benchmark; delete it: {error}"
        ) from error
    if cell.plan != plan:
        raise SystemExit(
            f"{path}: measured with another config or other options; use another --work, or delete it"
        )
    return cell


def print_cells(cells: Sequence[Cell]) -> None:
    """The table, why rows are empty, and a summary a method and budget."""
    rows = [(cell.plan, row) for cell in cells for row in cell.rows]
    print_table(
        "Latency of networks not seen before (measured twice)",
        COLUMNS,
        [[*_where(plan), *_figures(row)] for plan, row in rows],
        left=("runtime", "method"),
    )
    for plan, row in rows:
        if row.failure:
            print_lines(f"{plan.name}, {row.method}, {row.budget_s:g} s: {row.failure}")
    print_table(
        "Cells that reach each aim, and medians over the cells judged",
        ("method", "budget s", *AIMS, *MEDIANS),
        list(summary([row for _, row in rows])),
    )


def _where(plan: Plan) -> list[str]:
    device = plan.device
    return [str(plan.size), device.runtime, str(device.threads), str(device.batch_size)]


def _figures(row: Row) -> list[str]:
    """The columns from the budget on."""
    first, last = [f"{row.budget_s:g}", row.method], [str(row.num_fit), f"{row.seconds:.0f}"]
    judged = row.judged
    if judged is None:
        return [*first, row.failure.partition(":")[0], *["–"] * 5, *last]
    return [
        *first,
        f"{judged.spearman:.3f} ({judged.noise_spearman:.3f})",
        f"{judged.kendall:.3f}",
        f"{100 * judged.mape:.1f} ({100 * judged.noise_mape:.1f})",
        f"{100 * judged.within_5:.0f}",
        f"{100 * judged.within_10:.0f} ({100 * judged.noise_within_10:.0f})",
        "–" if judged.coverage is None else f"{100 * judged.coverage:.0f}",
        *last,
    ]


def summary(rows: Sequence[Row]) -> Iterator[list[str]]:
    """A line a method and scale: in how many of its cells each aim is reached (a failed one reaches none)."""
    for method, scale in dict.fromkeys((row.method, row.scale) for row in rows):
        group = [row for row in rows if (row.method, row.scale) == (method, scale)]
        judged = [row.judged for row in group if row.judged is not None]
        reached = [f"{sum(map(aim, judged))}/{len(group)}" for aim in AIMS.values()]
        yield [method, f"{group[0].budget_s:g}", *reached, *_medians(judged)]


def _medians(judged: Sequence[Judgement]) -> list[str]:
    if not judged:
        return ["–"] * len(MEDIANS)
    covered = [j.coverage for j in judged if j.coverage is not None]
    return [
        f"{statistics.median(j.spearman for j in judged):.3f}",
        f"{statistics.median(j.kendall for j in judged):.3f}",
        f"{100 * statistics.median(j.mape for j in judged):.1f}",
        f"{100 * statistics.median(j.within_5 for j in judged):.0f}",
        f"{100 * statistics.median(j.within_10 for j in judged):.0f}",
        f"{100 * statistics.median(covered):.0f}" if covered else "–",
    ]


def _progress() -> Progress:
    """Drawn only when told to: a drawing thread would disturb what is measured."""
    return Progress(
        MofNCompleteColumn(),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=talk,
        auto_refresh=False,
        redirect_stdout=False,
    )


if __name__ == "__main__":
    raise SystemExit(main())
