"""From a checked config to the objects of a run. Nowhere else are configs turned into objects.

In order: data and space (`data_and_space.py`), with the device the problem (`problem.py`), what evaluates children
(`evaluators.py`); here, all that a search needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from envs import CostBounds
from evaluation import Inheritance, Ledger, ObjectiveBounds, make_objective
from search import RunParts
from service.evaluators import make_evaluator
from service.problem import Problem
from service.run_config import RunConfig
from service.run_folder import RunFolder


@contextmanager
def open_parts(
    folder: RunFolder,
    problem: Problem,
    seed: int,
    frozen: Mapping[str, Any],
    inheritance: Inheritance | None = None,
) -> Iterator[RunParts]:
    """Everything `run_search` needs; closed at the end.

    Args:
        inheritance: see `shared_weights`; not needed for what is not searched again.
    """
    config = problem.config
    mirror = config.mirror.enabled
    with (
        Ledger(folder.ledger_url, scope=folder.ledger_scope) as ledger,
        make_evaluator(problem, folder.teacher.absolute(), inheritance) as evaluator,
    ):
        yield RunParts(
            name=config.name,
            run_dir=folder.path,
            seed=seed,
            space=problem.space,
            evaluator=evaluator,
            ledger=ledger,
            costing=problem.costing,
            objective=make_objective(config.objective, ObjectiveBounds(**frozen["bounds"])),
            limits=config.limits,
            bounds=CostBounds(problem.space, problem.cost_model, config.limits),
            search=config.search,
            schedule=config.schedule,
            training_seed=config.training.seed,
            accuracy_floor=getattr(config.objective, "accuracy_floor", 0.0),
            dataset=problem.dataset,
            supernet=inheritance.digest if inheritance else "",
            device=problem.device,
            device_file=problem.device_file,
            mirror_dir=folder.path.parent if mirror else None,
            objective_text=_objective_text(config, frozen["bounds"]),
            config_text=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        )


def _objective_text(config: RunConfig, bounds: Mapping[str, float]) -> str:
    """ "minmax: accuracy_weight 0.6, …", for people; rewards compare only where all of it is equal."""
    settings = config.objective.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    parts = [f"{name} {value}" for name, value in settings.items()]
    if config.objective.kind != "mnasnet":
        parts += [f"{name} {value:.4g}" for name, value in bounds.items()]
    return f"{config.objective.kind}: " + ", ".join(parts)
