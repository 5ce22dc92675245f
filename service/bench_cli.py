"""`netlathe bench …`: how good Netlathe is, on anyone's table of measured results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.table_options import ManyDevices, References, Space

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
