"""What a device file says, as rows for tables: (name, text)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latency_models import DeviceFile

Row = tuple[str, str]

_CORRELATIONS = {"spearman": "Spearman", "kendall": "Kendall"}
_SHARES = {"mape": "MAPE", "within_5": "within ±5 %", "within_10": "within ±10 %"}


def device_rows(file: DeviceFile) -> list[Row]:
    """What was measured on: the device as it was found."""
    device, versions = file.device, file.device.versions
    return [
        ("device", device.name),
        ("processor", f"{device.processor} ({device.accelerator})"),
        ("cores", str(device.cores or "unknown")),
        ("runtime", device.external_runtime or device.runtime),
        ("threads", str(device.threads)),
        ("batch size", f"{device.batch_size} (times and energies are of one call)"),
        ("clock governor", device.clock_governor),
        ("onnxruntime", versions.onnxruntime),
        ("torch", versions.torch),
        ("Python", versions.python),
        ("Netlathe", versions.netlathe),
        ("measured", file.created),
    ]


def measured_rows(file: DeviceFile) -> list[Row]:
    """How much was measured, and how steady the machine was."""
    report = file.report
    return [
        ("space", file.space_digest),
        ("blocks alone", f"{report.num_blocks_measured} of {report.num_blocks_used}"),
        ("networks fitted", str(report.num_fit)),
        ("networks held out", str(report.num_held_out)),
        ("their latencies", f"{report.fastest_ms:.4g} to {report.slowest_ms:.4g} ms"),
        ("failed", str(report.num_failed)),
        ("an empty call", f"{file.additive.call_ms:.4g} ms"),
        ("reference networks", f"{report.reference_ms:.4g} ms"),
        ("drift of the references", f"{100 * report.drift:.0f} %"),
        ("rounds thrown away", f"{report.num_rounds_discarded} of {report.num_rounds}"),
        ("time it took", f"{report.seconds:.1f} s" if report.seconds else "unknown"),
        ("energy", energy_text(file)),
    ]


def figure_rows(file: DeviceFile) -> list[tuple[str, str, str]]:
    """(figure, of the model, of measuring twice) on held-out networks."""
    report = file.report.model_dump()
    correlations = [
        (name, f"{report[key]:.3f}", f"{report['ceiling_' + key]:.3f}")
        for key, name in _CORRELATIONS.items()
    ]
    shares = [
        (name, f"{100 * report[key]:.1f} %", f"{100 * report['ceiling_' + key]:.1f} %")
        for key, name in _SHARES.items()
    ]
    return correlations + shares


def energy_text(file: DeviceFile) -> str:
    """Where energies come from."""
    model = file.energy_model
    if model.source == "estimated":
        return "estimated from MACs and bytes moved (no counter could be read)"
    return f"predicted, fitted to {model.reader}"


def interval_lines(file: DeviceFile) -> list[str]:
    """What the stated uncertainty means."""
    report = file.report
    lines = [
        f"± is one standard deviation (scaled by {file.interval_scale:.2f}); ± 1.645 of them is the 90 % interval, "
        f"set so that it held 90 % of the {report.num_held_out} held-out networks",
        f"95 % of them were at most {100 * file.latency_margin:.1f} % slower than predicted: hard limits keep "
        "that margin",
    ]
    if not report.meets_aim:
        lines.append(
            "the model ranks networks worse than measuring them twice does: intervals are half as wide again as "
            "held-out errors say"
        )
    return lines
