"""`netlathe latency choose`: which few networks to measure on a new device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.errors import ConflictError, UsageError
from service.output import print_json, print_lines


def run_latency_choose(
    space: str,
    *,
    count: int,
    to: Path,
    reference_files: Sequence[Path],
    batch_size: int,
    seed: int,
    as_json: bool,
) -> None:
    """Write a folder with the networks and a table to fill in."""
    from latency_models import DeviceFileError, choose_to_measure, write_worksheet
    from service.latency_inputs import named_space, read_known_devices

    searched = named_space(space)
    known = read_known_devices(reference_files)
    try:
        chosen = choose_to_measure(searched, count, known_devices=known, seed=seed)
        write_worksheet(searched, chosen, to, batch_size=batch_size)
    except FileExistsError as error:
        raise ConflictError(f"{error}; choose another --to") from None
    except DeviceFileError as error:
        raise UsageError(str(error)) from error
    table = to / "measurements.csv"
    if as_json:
        print_json({"directory": str(to), "table": str(table), "networks": len(chosen)})
        return
    references = "".join(f" {path}" for path in reference_files)
    print_lines(
        f"wrote {to}: {len(chosen)} networks, the most telling first",
        f"measure them as {to / 'README.md'} says, then: netlathe latency fit {table} --space {space} "
        "--device latency_ms --out device.safetensors"
        + (f" --reference-file{references}" if references else ""),
    )
