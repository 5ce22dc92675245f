"""Whether a config's rungs suit its data and space: said before anything is trained."""

from __future__ import annotations

import numpy as np

from archspace import SearchSpace
from child_models import Dataset, at_resolution, smaller_shape
from search import cost_of_one_in_full, rungs_of
from service.errors import UsageError
from service.run_config import RunConfig


def check_rungs(config: RunConfig, space: SearchSpace, dataset: Dataset) -> None:
    """Refuse rungs that do not get more expensive, that leave nothing for a child in full, or images too small for the space's networks.

    Raises:
        UsageError: the message says which rung.
    """
    halving = config.search.halving
    if halving is None:
        return
    try:
        rungs = rungs_of(halving, config.schedule.search, dataset.input_shape)
    except ValueError as error:
        raise UsageError(str(error)) from error
    needed = cost_of_one_in_full(halving, rungs)
    if halving.supernet is None and config.search.budget < needed:  # (probes are trained in full)
        raise UsageError(
            f"search.halving: {needed:.3g} are paid for each child that is trained in full, and search.budget is "
            f"{config.search.budget}: nothing could be exported. Raise it, lower search.halving.reduction ({halving.reduction:g}), or leave a "
            "rung out"
        )
    network = space.resolve(space.sample(np.random.default_rng(0)))
    for rung in rungs:
        if rung.resolution is None:
            continue
        try:
            at_resolution(network, smaller_shape(dataset.input_shape, rung.resolution))
        except ValueError as error:
            raise UsageError(
                f"search.halving.rungs: {rung.name} does not suit this space: {error}"
            ) from error
