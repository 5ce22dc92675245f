"""The end of a run that compresses: its best network goes through the config's plan, and the result is checked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from service.compression_output import write_compression
from service.errors import NetlatheError, UsageError
from service.output import talk
from service.progress import RunProgress
from service.run_folder import RunFolder

if TYPE_CHECKING:
    from compress import CompressionPlan
    from service.problem import Problem

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
    from child_models import NonFiniteTraining
    from compress import compress, read_model
    from deploy import verify_export
    from latency_models import Device

    assert problem.dataset is not None, "RunConfig refuses compression without data"
    # what is exported is an ONNX file, whatever the search measured with
    device = Device.here(problem.config.device.model_copy(update={"runtime": "onnxruntime"}))

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
    except ValueError as error:
        raise UsageError(f"compression: {error}") from error
    except NonFiniteTraining as error:
        raise NetlatheError(f"compression: {error}; a lower learning_rate may help") from error
    write_compression(
        compressed, problem.dataset, device.name, folder.compressed, folder.compression
    )
    report = verify_export(folder.compressed)
    if not report.ok:
        failed = ", ".join(check.name for check in report.failures)
        raise NetlatheError(f"{folder.compressed} does not hold what it says: {failed}")
    talk.print(
        f"compressed: {folder.compressed}, checked; report: {folder.compression}/report.html"
    )
