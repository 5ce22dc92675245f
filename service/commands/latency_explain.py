"""`netlathe latency explain`: why a network costs what it costs, block by block and layer by layer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from service.latency_inputs import NamedArchitecture, naming, read_architecture, read_device_file
from service.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from latency_models import BlockShare, DeviceFile, Explanation, LayerShare, Remainder

BAR_WIDTH = 12
COLUMNS = ("where", "alone ms", "which is", "here ms", "%", "energy mJ", "")

Row = tuple[str, ...]


def run_latency_explain(path: Path, device_path: Path, *, top: int | None, as_json: bool) -> None:
    """Print the parts of a prediction; they add up to it."""
    from latency_models import explain_network

    file = read_device_file(device_path)
    architecture = read_architecture(path)
    with naming(path, device_path):
        explanation = explain_network(file, architecture.document.network)
    if top is not None:
        explanation = explanation.top(top)
    if as_json:
        print_json(
            {
                "file": str(path),
                "digest": architecture.document.digest,
                "device": file.device.name,
                **asdict(explanation),
            }
        )
        return
    _show(file, architecture, explanation)


def _show(file: DeviceFile, architecture: NamedArchitecture, explanation: Explanation) -> None:
    latency, energy = explanation.latency_ms, explanation.energy_mj
    print_table(
        f"{architecture.path} on {file.device.name}",
        COLUMNS,
        [
            *_rows(explanation),
            ("sum", "", "", f"{latency.value:.4g}", "100.0", f"{energy.value:.3g}", ""),
        ],
        left=("which is", ""),
    )
    print_lines(
        f"latency {latency.value:.4g} ± {latency.std:.2g} ms ({latency.source}), "
        f"energy {energy.value:.3g} ± {energy.std:.2g} mJ ({energy.source})",
        f"here = ({explanation.scale:.2f} · alone + what whole networks taught about its layers) · (1 + its own "
        "deviation)",
        "only whole blocks are measured: within a block, the split over layers is the regression's",
    )


def _rows(explanation: Explanation) -> list[Row]:
    """Overhead, blocks each with its layers, then the blocks left out; bars are relative to the longest."""
    overhead, others, blocks = explanation.overhead, explanation.others, explanation.blocks
    longest = max(overhead.share, others.share, *(block.share for block in blocks))
    rows = [_row("overhead of a call", overhead, longest)]
    for block in blocks:
        known = "measured" if block.lone_measured else "regressed"
        alone = f"{block.lone_ms:.4g}"
        rows.append(_row(block.name, block, longest, alone=alone, known=known))
        rows += [_row(f"  {layer.what}", layer, longest, mark="░") for layer in block.layers]
    if explanation.num_others:
        plural = "" if explanation.num_others == 1 else "s"
        rows.append(_row(f"{explanation.num_others} other block{plural}", others, longest))
    return rows


def _row(
    name: str,
    part: Remainder | BlockShare | LayerShare,
    longest: float,
    *,
    alone: str = "",
    known: str = "",
    mark: str = "█",
) -> Row:
    return (
        name,
        alone,
        known,
        f"{part.latency_ms:.4g}",
        f"{100 * part.share:.1f}",
        f"{part.energy_mj:.3g}",
        mark * round(BAR_WIDTH * part.share / longest),
    )
