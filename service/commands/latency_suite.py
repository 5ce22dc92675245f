"""`netlathe latency export-suite` and `netlathe latency import`: a device where Python does not run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.config_file import read_mapping, validate
from service.errors import ConflictError, NotFoundError, UsageError
from service.output import print_json, print_lines, talk

if TYPE_CHECKING:
    from latency_models import ImportedSuite


def run_export_suite(
    config: Path,
    *,
    to: Path,
    networks: int,
    held_out: int,
    blocks: int,
    batch_size: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Write the suite of a config's space; say what is in it."""
    data = read_mapping(config)
    from latency_models import SuiteConfig, write_suite
    from service.data_and_space import load_dataset, make_space
    from service.run_config import RunConfig

    checked = validate(RunConfig, data, str(config))
    if checked.evaluator.kind == "table":
        raise UsageError(
            f"{config}: a run over a table takes its costs from there; nothing to measure"
        )
    space = make_space(checked, load_dataset(checked))
    try:
        manifest = write_suite(
            space,
            to,
            SuiteConfig(
                num_networks=networks,
                num_held_out=held_out,
                num_blocks=blocks,
                batch_size=batch_size or checked.device.batch_size,
                seed=seed,
            ),
        )
    except FileExistsError as error:
        raise ConflictError(f"{error}; choose another --to") from None
    counts = {
        "networks": len(manifest.of_role("network")),
        "held_out": len(manifest.of_role("held_out")),
        "blocks": len(manifest.of_role("block")),
    }
    if as_json:
        print_json({"directory": str(to), "files": len(manifest.files), **counts})
        return
    print_lines(
        f"wrote {to}: {counts['networks']} networks, {counts['held_out']} held-out networks, "
        f"{counts['blocks']} of {manifest.num_blocks_used} blocks, a reference and an empty call",
        f"measure them as {to / 'README.md'} says, then: netlathe latency import {to} --name NAME --out device.json",
    )


def run_import(
    directory: Path,
    *,
    measurements: Path | None,
    name: str,
    out: Path,
    processor: str,
    runtime: str,
    threads: int,
    as_json: bool,
) -> None:
    """Fit a device file to a measured suite, save it, and say how well it predicts."""
    _check_paths(directory, measurements, out)
    from latency_models import SuiteError, import_suite
    from search import RunDevice
    from service.problem import device_line

    try:
        imported = import_suite(
            directory,
            name=name,
            measurements=measurements,
            processor=processor,
            runtime=runtime,
            threads=threads,
        )
    except SuiteError as error:
        raise UsageError(str(error)) from error
    imported.device_file.save(out)
    if as_json:
        print_json(_as_dict(imported, out))
        return
    if imported.num_missing:
        talk.print(f"{imported.num_missing} files of the suite have no usable figure")
    report = imported.device_file.report
    print_lines(
        device_line(RunDevice.profiled(imported.device_file)),
        f"{imported.num_rows} rows, {imported.num_dropped} left out; the reference drifted by "
        f"{100 * report.drift:.1f} %",
        f"wrote {out}; use it with --device-file",
    )


def _check_paths(directory: Path, measurements: Path | None, out: Path) -> None:
    from latency_models.suite_manifest import MANIFEST_FILE, MEASUREMENTS_FILE

    if not (directory / MANIFEST_FILE).is_file():
        raise NotFoundError(
            f"no suite at {directory}: it has no {MANIFEST_FILE}; `netlathe latency export-suite` writes one"
        )
    source = measurements or directory / MEASUREMENTS_FILE
    if not source.is_file():
        raise NotFoundError(f"no measurements at {source}; name the filled-in file with --csv")
    if not out.parent.is_dir():
        raise NotFoundError(f"no folder {out.parent} to write {out.name} into")


def _as_dict(imported: ImportedSuite, out: Path) -> dict[str, Any]:
    return {
        "device_file": str(out),
        "device": imported.device_file.device.name,
        "rows": imported.num_rows,
        "rows_left_out": imported.num_dropped,
        "files_without_figures": imported.num_missing,
        "report": imported.device_file.report.model_dump(mode="json", exclude={"seconds"}),
    }
