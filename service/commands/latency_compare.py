"""`netlathe latency compare`: devices side by side, and what each is unusually good or bad at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.device_tables import device_rows, figure_rows, measured_rows
from service.errors import UsageError
from service.latency_inputs import config_space, read_device_file
from service.output import print_json, print_lines, print_table, talk

if TYPE_CHECKING:
    from latency_models import DeviceComparison, DeviceFile


def run_latency_compare(paths: Sequence[Path], config: Path | None, *, as_json: bool) -> None:
    """Print facts and figures of all files, then each one's blocks against the first's."""
    if len(paths) < 2:
        raise UsageError(f"expected at least two device files to compare, got {len(paths)}")
    from latency_models import blocks_to_measure, compare_devices

    files = [read_device_file(path) for path in paths]
    # digests alone have no names: all blocks of a space tell what its digests stand for
    blocks = [] if config is None else blocks_to_measure(config_space(config), ())
    comparisons = [compare_devices(files[0], file, blocks=blocks) for file in files[1:]]
    if as_json:
        print_json(_as_dict(paths, files, comparisons))
        return
    _show_side_by_side(paths, files)
    for path, comparison in zip(paths[1:], comparisons, strict=True):
        _show_blocks(paths[0], path, comparison, named=config is not None)


def _as_dict(
    paths: Sequence[Path], files: Sequence[DeviceFile], comparisons: Sequence[DeviceComparison]
) -> dict[str, Any]:
    return {
        "devices": [
            {
                "file": str(path),
                "device": asdict(file.device),
                "created": file.created,
                "space_digest": file.space_digest,
                "report": file.report.model_dump(),
            }
            for path, file in zip(paths, files, strict=True)
        ],
        "blocks": [
            {"first": str(paths[0]), "second": str(path), **asdict(comparison)}
            for path, comparison in zip(paths[1:], comparisons, strict=True)
        ],
    }


def _show_side_by_side(paths: Sequence[Path], files: Sequence[DeviceFile]) -> None:
    names = [str(path) for path in paths]
    facts = [[*device_rows(file), *measured_rows(file)] for file in files]
    rows = [(same[0][0], *(text for _, text in same)) for same in zip(*facts, strict=True)]
    print_table("Devices", ("what", *names), rows, left=names)
    figures = [figure_rows(file) for file in files]
    rows = [
        (same[0][0], *(f"{model} ({twice})" for _, model, twice in same))
        for same in zip(*figures, strict=True)
    ]
    print_table("Held-out networks (measured twice)", ("figure", *names), rows)


def _show_blocks(first: Path, second: Path, comparison: DeviceComparison, *, named: bool) -> None:
    shared = comparison.num_shared
    if not shared:
        print_lines(
            f"{second} against {first}: no block was measured on both; they are profiles of different spaces"
        )
        return
    spearman = comparison.spearman
    print_lines(
        f"{second} against {first}: {shared} blocks were measured alone on both; Spearman correlation of their "
        f"times {'undefined' if spearman is None else f'{spearman:.3f}'}"
    )
    if comparison.median_ratio is None:
        print_lines("no ratio: on one of them every shared block costs less than a tenth of a call")
        return
    print_lines(
        f"median ratio {comparison.median_ratio:.3g}, over the {comparison.num_compared} blocks that cost at least "
        "a tenth of a call on both"
    )
    rows = [
        (
            row.what or row.digest,
            f"{row.first_ms:.4g}",
            f"{row.second_ms:.4g}",
            f"{row.ratio:.3g}",
            f"{'slow' if row.unusual > 1 else 'quick'} ×{max(row.unusual, 1 / row.unusual):.2f}",
        )
        for row in comparison.unusual
    ]
    columns = ("block", f"{first} ms", f"{second} ms", "ratio", "beside the median")
    print_table(f"What {second} is unusually bad or good at", columns, rows)
    if not named:
        talk.print(
            "blocks are known by their digests only; --config CONFIG names those of its space"
        )
    elif any(row.what is None for row in comparison.unusual):
        talk.print("blocks left with a digest are not of that config's space")
