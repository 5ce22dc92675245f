"""`netlathe bench …`: how good Netlathe is, on anyone's table of measured results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.table_options import ManyDevices, ManyReports, References, Space

app = typer.Typer(
    help="Measure Netlathe itself on tables of measured results.", no_args_is_help=True
)


@app.command(cls=ManyDevices)
def latency(
    table: Annotated[
        Path,
        typer.Option(
            "--table", help="Parquet or CSV: architectures, and one column a device (ms or mJ)."
        ),
    ],
    device: Annotated[
        list[str], typer.Option("--device", help="Columns to learn.", metavar="COL...")
    ],
    space: Space = "nasbench201",
    reference: References = None,
    samples: Annotated[
        str, typer.Option("--samples", help="Numbers of measured architectures.")
    ] = "10,20,50,100,300,900",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds.")] = 5,
    select: Annotated[
        str, typer.Option("--select", help="designed: samples chosen to say most; or random.")
    ] = "designed",
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write all records to this file.")
    ] = None,
) -> None:
    """Learn devices from few measurements and judge the predictions on all others.

    References are used on 900 architectures, none of which is judged on.
    """
    from service.commands.bench_latency import run_bench_latency

    run_bench_latency(
        table,
        space,
        devices=device,
        references=reference or [],
        samples=samples,
        seeds=seeds,
        select=select,
        json_out=json_out,
    )


@app.command(cls=ManyReports)
def search(
    table: Annotated[
        Path, typer.Option("--table", help="Parquet or CSV: architectures and their results.")
    ],
    accuracy: Annotated[
        str, typer.Option("--accuracy", help="Column to search by: percent or shares.")
    ],
    space: Space = "nasbench201",
    latency: Annotated[str | None, typer.Option("--latency", help="Column in ms.")] = None,
    energy: Annotated[str | None, typer.Option("--energy", help="Column in mJ.")] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report", help="Columns told of the best; no searcher sees them.", metavar="COL..."
        ),
    ] = None,
    objective: Annotated[
        str, typer.Option("--objective", help="accuracy, weighted or pareto.")
    ] = "accuracy",
    strategies: Annotated[
        str, typer.Option("--strategies", help="Names, with commas.")
    ] = "ppo,surrogate,random,evolution,local",
    budgets: Annotated[
        str, typer.Option("--budgets", help="Numbers of new evaluations, with commas.")
    ] = "50,100,200,500",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds.")] = 5,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Architectures evaluated at once.")
    ] = 5,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            min=1,
            help="So many under way at a time, as in an asynchronous search; batches are proposed, not waited for.",
        ),
    ] = None,
    costs: Annotated[
        str,
        typer.Option(
            "--costs",
            help="What searchers are told of costs beforehand: table, or fitted (to 100 rows).",
        ),
    ] = "table",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    json_out: Annotated[
        Path | None,
        typer.Option("--json", help="Write all records to this file; a stopped bench goes on."),
    ] = None,
    plot_out: Annotated[
        Path | None, typer.Option("--plot", help="Write curves to this HTML file.")
    ] = None,
) -> None:
    """Compare searchers at equal numbers of new evaluations on a table where all results are known."""
    from service.commands.bench_latency import parse_counts
    from service.commands.bench_search import BenchArguments, run_bench_search

    run_bench_search(
        BenchArguments(
            table=table,
            space=space,
            accuracy=accuracy,
            latency=latency,
            energy=energy,
            report=tuple(report or ()),
            objective=objective,
            budgets=tuple(parse_counts("--budgets", budgets)),
            batch=batch,
            window=window,
            costs=costs,
        ),
        strategies=[name.strip() for name in strategies.split(",") if name.strip()],
        seeds=seeds,
        workers=workers,
        json_out=json_out,
        plot_out=plot_out,
    )
