"""The end of a run that compresses: its best network goes through the config's plan, and the result is checked."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from archspace import write_atomic
from service.errors import NetlatheError, UsageError
from service.output import talk
from service.progress import RunProgress
from service.run_folder import RunFolder

if TYPE_CHECKING:
    from compress import CompressionPlan
    from service.wiring import Problem

_log = logging.getLogger(__name__)


def compress_best(
    folder: RunFolder, problem: Problem, plan: CompressionPlan, progress: RunProgress
) -> None:
    """Compress ``best/`` into ``compressed/``; finished steps are kept in ``compression/``.

    Nothing is done where ``compressed/`` is there already.

    Raises:
        UsageError: the plan cannot be done on this network.
        NetlatheError: the result does not hold what it says.
    """
    if folder.compressed.is_dir() or not folder.best.is_dir():
        return
    from compress import CompressionError, compress, export_compressed, read_model
    from deploy import verify_export
    from latency_models import Device
    from service.commands.compress import STEPS_FILE, summary_json
    from service.compression_report import write_compression_report

    assert problem.dataset is not None, "RunConfig refuses compression without data"
    device = Device.here(problem.config.device)

    def on_progress(what: str, share: float) -> None:
        progress.phase, progress.detail = f"compressing, {what}", f"{100 * share:.0f} %"

    try:
        compressed = compress(
            read_model(folder.best),
            problem.dataset,
            plan,
            folder.compression,
            device=device,
            on_step=lambda number, step, state: _log.info(
                "step %d %s: %s", number, step.step, state
            ),
            on_progress=on_progress,
        )
    except CompressionError as error:
        raise UsageError(f"compression: {error}") from error
    write_compression_report(folder.compression, compressed, device.name, problem.dataset.name)
    summary = summary_json(compressed, folder.compressed, folder.compression)
    write_atomic(folder.compression / STEPS_FILE, json.dumps(summary, indent=2) + "\n")
    export_compressed(compressed, problem.dataset, device.name, folder.compressed)
    report = verify_export(folder.compressed)
    if not report.ok:
        failed = ", ".join(check.name for check in report.failures)
        raise NetlatheError(f"{folder.compressed} does not hold what it says: {failed}")
    talk.print(
        f"compressed: {folder.compressed}, checked; report: {folder.compression}/report.html"
    )
