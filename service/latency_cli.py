"""`netlathe latency …`: what networks cost on a device, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import AsJson
from service.table_options import ManyValues, ReferenceFiles, References, Space

app = typer.Typer(
    help="Learn, show and explain what networks cost on a device.", no_args_is_help=True
)

DevicePath = Annotated[
    Path, typer.Argument(metavar="DEVICE_FILE", help="A profile: device.json of a run.")
]
DeviceOption = Annotated[
    Path, typer.Option("--device-file", help="A profile: device.json of a run.")
]
ARCHITECTURE_HELP = "An architecture.json or an exported folder."


@app.command()
def profile(
    config: Annotated[Path, typer.Argument(help="A run file (YAML): whose space is profiled.")],
    out: Annotated[Path, typer.Option("--out", help="The device file to write.")] = Path(
        "device.json"
    ),
    device: Annotated[
        str | None, typer.Option("--device", help="What to call this device.", metavar="NAME")
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time for measuring, such as 90s or 3m.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set device.threads=2.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure this machine, learn what the config's networks cost on it, and state the error."""
    from service.commands.latency_profile import run_latency_profile

    run_latency_profile(
        config,
        out=out,
        name=device,
        budget=budget,
        overrides=overrides or [],
        force=force,
        as_json=as_json,
    )


@app.command()
def show(device_file: DevicePath, as_json: AsJson = False) -> None:
    """Show what was measured, how well the cost model predicts, and what its intervals mean."""
    from service.commands.latency_show import run_latency_show

    run_latency_show(device_file, as_json=as_json)


@app.command()
def predict(
    architectures: Annotated[
        list[Path], typer.Argument(metavar="ARCHITECTURE...", help=ARCHITECTURE_HELP)
    ],
    device_file: DeviceOption,
    as_json: AsJson = False,
) -> None:
    """Predict latency and energy of exported networks, up to each early exit too."""
    from service.commands.latency_predict import run_latency_predict

    run_latency_predict(architectures, device_file, as_json=as_json)


@app.command()
def explain(
    architecture: Annotated[Path, typer.Argument(metavar="ARCHITECTURE", help=ARCHITECTURE_HELP)],
    device_file: DeviceOption,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Only the N most expensive blocks.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where a network's time goes: overhead, blocks and layers, adding up to the prediction."""
    from service.commands.latency_explain import run_latency_explain

    run_latency_explain(architecture, device_file, top=top, as_json=as_json)


@app.command()
def compare(
    device_files: Annotated[
        list[Path], typer.Argument(metavar="DEVICE_FILE DEVICE_FILE...", help="Profiles.")
    ],
    config: Annotated[
        Path | None, typer.Option("--config", help="Name blocks by this config's space.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put devices side by side, and show which blocks each is unusually good or bad at."""
    from service.commands.latency_compare import run_latency_compare

    run_latency_compare(device_files, config, as_json=as_json)


@app.command(cls=ManyValues)
def fit(
    table: Annotated[
        Path, typer.Argument(help="Parquet or CSV: architectures, and one column a device.")
    ],
    device: Annotated[str, typer.Option("--device", help="The column to learn.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).")],
    space: Space = "nasbench201",
    reference: References = None,
    reference_file: ReferenceFiles = None,
    unit: Annotated[str, typer.Option("--unit", help="Of the column: ms or mJ.")] = "ms",
    as_json: AsJson = False,
) -> None:
    """Learn a device from a table of measured architectures; a few are enough."""
    from service.commands.latency_fit import run_latency_fit

    run_latency_fit(
        table,
        space,
        device=device,
        references=reference or [],
        reference_files=reference_file or [],
        unit=unit,
        out=out,
        as_json=as_json,
    )


@app.command(cls=ManyValues)
def choose(
    to: Annotated[Path, typer.Option("--to", help="Folder to write; new or empty.")],
    space: Space = "nasbench201",
    count: Annotated[
        int, typer.Option("--count", min=5, max=1000, help="Networks to measure.")
    ] = 20,
    reference_file: ReferenceFiles = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=65536, help="Images in a call.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which networks are drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Choose the few networks that say most about a new device; write them and a table to fill in."""
    from service.commands.latency_choose import run_latency_choose

    run_latency_choose(
        space,
        count=count,
        to=to,
        reference_files=reference_file or [],
        batch_size=batch_size,
        seed=seed,
        as_json=as_json,
    )


@app.command("export-suite")
def export_suite(
    config: Annotated[Path, typer.Argument(help="A run file (YAML): whose space is measured.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write; new or empty.")],
    networks: Annotated[
        int, typer.Option("--networks", min=8, max=10000, help="Whole networks to fit on.")
    ] = 120,
    held_out: Annotated[
        int, typer.Option("--held-out", min=8, max=10000, help="Whole networks to judge by.")
    ] = 48,
    blocks: Annotated[
        int, typer.Option("--blocks", min=8, max=100000, help="Blocks measured alone.")
    ] = 80,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, max=65536, help="Images in a call (the config's)."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which networks are chosen.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write ONNX files and a table, to measure a device where Python does not run."""
    from service.commands.latency_suite import run_export_suite

    run_export_suite(
        config,
        to=to,
        networks=networks,
        held_out=held_out,
        blocks=blocks,
        batch_size=batch_size,
        seed=seed,
        as_json=as_json,
    )


@app.command("import")
def import_(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A suite, measured.")],
    name: Annotated[str, typer.Option("--name", help="What the device is called.")],
    out: Annotated[Path, typer.Option("--out", help="The device file to write.")],
    measurements: Annotated[
        Path | None, typer.Option("--csv", help="The filled-in table (DIR/measurements.csv).")
    ] = None,
    processor: Annotated[
        str, typer.Option("--processor", help="What the networks ran on.")
    ] = "unknown",
    runtime: Annotated[str, typer.Option("--runtime", help="What ran them.")] = "unknown",
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads that they were run with.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Make a device file of a suite that was measured on the device."""
    from service.commands.latency_suite import run_import

    run_import(
        directory,
        measurements=measurements,
        name=name,
        out=out,
        processor=processor,
        runtime=runtime,
        threads=threads,
        as_json=as_json,
    )
