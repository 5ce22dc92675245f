"""`netlathe latency show`: what a device file says about its device and its cost model."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.device_tables import device_rows, figure_rows, interval_lines, measured_rows
from service.latency_inputs import read_device_file
from service.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from latency_models import DeviceFile

_log = logging.getLogger(__name__)


def run_latency_show(device_path: Path, *, as_json: bool) -> None:
    """Print device, what was measured, held-out figures, and what the interval means."""
    file = read_device_file(device_path)
    differences = _differences_from_here(file)
    for difference in differences:
        _log.warning("the device file is not of this machine as it is now: %s", difference)
    if as_json:
        print_json(_as_dict(file, differences))
        return
    print_table("Device", ("what", "value"), device_rows(file), left=("value",))
    print_table("Measured", ("what", "value"), measured_rows(file), left=("value",))
    print_table(
        "Held-out networks",
        ("figure", "cost model", "measured twice"),
        figure_rows(file),
    )
    print_lines(*interval_lines(file))


def _differences_from_here(file: DeviceFile) -> tuple[str, ...]:
    from latency_models import Device, DeviceConfig, DeviceUnavailable

    then = file.device
    if file.imported:
        return (f"it was measured elsewhere, with {then.external_runtime}",)
    config = DeviceConfig(
        name=then.name,
        runtime=then.runtime,
        threads=then.threads,
        batch_size=then.batch_size,
        accelerator=then.accelerator,
    )
    try:
        return then.differences(Device.here(config))
    except DeviceUnavailable as error:
        return (str(error),)


def _as_dict(file: DeviceFile, differences: tuple[str, ...]) -> dict[str, Any]:
    return {
        "device": asdict(file.device),
        "device_digest": file.device.digest,
        "space_digest": file.space_digest,
        "created": file.created,
        "report": file.report.model_dump(),
        "call_ms": file.additive.call_ms,
        "overhead_ms": file.correction.overhead_ms,
        "interval_scale": file.interval_scale,
        "latency_margin": file.latency_margin,
        "energy": file.energy_model.model_dump(),
        "differences_from_here": list(differences),
    }
