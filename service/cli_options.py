"""Options that several verbs have, each stated once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Result as JSON on stdout.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: --set search.budget=20.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of the search (default: the config's).")
]
DeviceFile = Annotated[
    Path | None,
    typer.Option(
        "--device-file",
        help="Use this profile, or a device fitted to a table, instead of measuring the device.",
    ),
]
RunOrJob = Annotated[
    str, typer.Argument(metavar="RUN|JOB", help="A run directory, or the id of a job.")
]
Results = Annotated[
    Path, typer.Option("--results", help="Folder of the jobs and of their run directories.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="NETLATHE_JOB_STORE",
        help="Database of the jobs (default: RESULTS/jobs.db).",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="NETLATHE_SERVER",
        help="Instead of a folder: URL of a `netlathe serve --http`.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="NETLATHE_TOKEN_FILE",
        help="The server's token (a file of mode 600).",
    ),
]
RESULTS = Path("results")
