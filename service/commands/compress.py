"""`netlathe compress`: a trained network made smaller and faster, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.compression_output import summary_json, write_compression
from service.config_file import anchored, apply_overrides, read_mapping, validate
from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from service.model_checks import check_model_fits
from service.output import print_json, print_lines, print_table, talk

if TYPE_CHECKING:
    from child_models import Dataset
    from compress import Compressed, CompressionPlan


def run_compress(
    source: Path,
    plan_file: Path,
    *,
    to: Path,
    work: Path | None,
    teacher: Path | None,
    architecture: Path | None,
    overrides: list[str],
    as_json: bool,
) -> None:
    """Carry the plan out on `source`, write an export to `to` and the steps beside it."""
    if not source.exists():
        raise NotFoundError(f"no export or weights at {source}")
    if to.exists():
        raise ConflictError(f"{to} already exists; choose another --to")
    data = apply_overrides(read_mapping(plan_file), overrides)
    data = anchored(data, plan_file.parent)

    from child_models import NonFiniteTraining
    from compress import CompressionPlan

    plan = validate(CompressionPlan, data, str(plan_file))
    try:
        compressed = carry_out_plan(
            source, plan, to=to, work=work, teacher=teacher, architecture=architecture
        )
    except ValueError as error:  # of the package: what does not fit, and what to change
        raise UsageError(str(error)) from error
    except NonFiniteTraining as error:
        raise NetlatheError(
            f"{error}; a lower training.learning_rate may help. Finished steps are kept in {work_folder(to, work)}"
        ) from error
    if as_json:
        print_json(summary_json(compressed, to, work_folder(to, work)))
        return
    show(compressed, to, work_folder(to, work))


def work_folder(to: Path, work: Path | None) -> Path:
    """Where steps and report are kept."""
    return work or to.with_name(f"{to.name}-steps")


def carry_out_plan(
    source: Path,
    plan: CompressionPlan,
    *,
    to: Path,
    work: Path | None,
    teacher: Path | None,
    architecture: Path | None,
) -> Compressed:
    """Read, compress, export, report."""
    from compress import compress, read_model
    from latency_models import Device
    from service.progress import ProgressDisplay, RunProgress

    dataset = _dataset(plan)
    stored = read_model(source, architecture)
    check_model_fits(stored, dataset, source)
    guide = read_model(teacher) if teacher is not None else None
    if guide is not None:
        assert teacher is not None
        check_model_fits(guide, dataset, teacher)
    device = Device.here(plan.device)
    folder = work_folder(to, work)
    progress = RunProgress(phase="preparing")

    def on_progress(what: str, share: float) -> None:
        progress.phase, progress.detail = what, f"{100 * share:.0f} %"

    with ProgressDisplay(progress):
        compressed = compress(
            stored,
            dataset,
            plan,
            folder,
            device=device,
            teacher=guide,
            on_step=lambda number, step, state: talk.print(
                f"step {number} of {len(plan.steps)}: {step.step} {_STATES[state]}"
            ),
            on_progress=on_progress,
        )
    write_compression(compressed, dataset, device.name, to, folder)
    return compressed


_STATES = {"start": "…", "done": "done", "kept": "was done before"}


def show(compressed: Compressed, to: Path, folder: Path) -> None:
    """A table a model, and where things are."""
    from service.compression_report import COLUMNS, figure_rows

    print_table("compression", COLUMNS, figure_rows(compressed), left=("runs in",))
    print_lines(
        *(f"note: {note}" for note in compressed.notes),
        f"test accuracy {100 * compressed.test_before:.2f} % before, "
        f"{100 * compressed.test_after:.2f} % after",
        f"wrote {to}; report: {folder / 'report.html'}",
        f"check it: netlathe verify {to}",
    )


def _dataset(plan: CompressionPlan) -> Dataset:
    from child_models import load_data

    if plan.data is None:
        raise UsageError(
            "data: missing; say what the network was trained on, such as data: {kind: digits}, or --set data.kind=digits"
        )
    return load_data(plan.data)
