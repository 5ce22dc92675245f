"""The weights that children of the lowest rung inherit: trained before the search, kept in the run's folder."""

from __future__ import annotations

import logging
import time

from evaluation import Inheritance
from evaluation.child_runner import one_thread
from service.errors import DamagedError, NetlatheError
from service.problem import Problem
from service.progress import RunProgress, duration
from service.run_folder import RunFolder

_log = logging.getLogger(__name__)


def shared_weights(
    folder: RunFolder, problem: Problem, progress: RunProgress
) -> Inheritance | None:
    """Trained, or read where they are; a training that was interrupted goes on. None where no rung asks for them.

    Raises:
        DamagedError: the file in the folder is not of this run, or cannot be read.
        NetlatheError: the training diverged.
    """
    config = problem.config
    halving = config.search.halving
    if halving is None or halving.supernet is None:
        return None
    assert problem.dataset is not None, "checked by RunConfig"
    # torch is loaded only where it is needed
    from child_models import NonFiniteTraining
    from child_models.supernet.training import blocks_of, train_supernet

    settings, started = halving.supernet.training, time.monotonic()

    def on_epoch(done: int, loss: float) -> None:
        progress.detail = f"epoch {done} of {settings.epochs}, loss {loss:.3f}"
        _log.info("shared weights: %s", progress.detail)

    progress.phase = "training shared weights"
    try:
        with one_thread():
            weights = train_supernet(
                problem.space,
                problem.dataset,
                config.training,
                settings,
                state=folder.supernet,
                on_epoch=on_epoch,
            )
    except NonFiniteTraining as error:
        raise NetlatheError(
            f"search.halving.supernet: {error}; lower training.learning_rate, or leave supernet out"
        ) from error
    except ValueError as error:
        raise DamagedError(str(error)) from error
    _log.info("shared weights after %s", duration(time.monotonic() - started))
    progress.detail = ""
    return Inheritance(
        blocks=blocks_of(problem.space), arrays=weights.arrays(), seed=config.training.seed
    )
