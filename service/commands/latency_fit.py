"""`netlathe latency fit`: a device learnt from a table of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import NotFoundError, UsageError
from service.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from latency_models import FittedDevice


def run_latency_fit(
    table: Path,
    space: str,
    *,
    device: str,
    references: Sequence[str],
    reference_files: Sequence[Path],
    unit: str,
    out: Path,
    as_json: bool,
) -> None:
    """Fit, print the error on left-out measurements, and save."""
    if not table.is_file():
        raise NotFoundError(f"no table at {table}")
    if unit not in ("ms", "mJ"):
        raise UsageError(f"--unit: expected ms or mJ, got {unit!r}")
    if device in references:
        raise UsageError(f"--reference: {device} cannot help to learn itself")
    from latency_models import ChoiceTable, fit_device
    from service.latency_inputs import named_space, read_known_devices

    searched = named_space(space)
    known = read_known_devices(reference_files)
    try:
        read = ChoiceTable.read(table, searched, [device, *references])
        fitted = fit_device(
            searched,
            read,
            device,
            unit="ms" if unit == "ms" else "mJ",
            references=references,
            known_devices=known,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    fitted.save(out)
    if as_json:
        header = fitted.header.model_dump(mode="json", exclude={"others"})
        header["left_out"] = fitted.header.left_out._asdict()
        print_json({"file": str(out), **header})
        return
    _show(fitted, out)


def _show(fitted: FittedDevice, out: Path) -> None:
    header = fitted.header
    quality = header.left_out
    print_table(
        f"{header.device}: {header.num_measured} measured architectures, each predicted from the others",
        ("figure", "value"),
        [
            ("Spearman", f"{quality.spearman:.3f}"),
            ("Kendall", f"{quality.kendall:.3f}"),
            ("MAPE", f"{100 * quality.mape:.1f} %"),
            ("within ±5 %", f"{100 * quality.within_5:.0f} %"),
            ("within ±10 %", f"{100 * quality.within_10:.0f} %"),
            ("inside the 90 % interval", f"{100 * header.coverage_90:.0f} %"),
        ],
    )
    print_lines(f"device file  {out}")
