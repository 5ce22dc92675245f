"""What gives the children of a run their accuracy: a table, or training here or on Ray, shared between jobs or not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from evaluation import (
    Evaluator,
    EvaluatorConfig,
    Inheritance,
    RayEvaluator,
    Recipe,
    SharedResults,
    SharedResultsError,
    SharingEvaluator,
    TableEvaluator,
    TrainingEvaluator,
)
from latency_models.device import cpu_name
from service.deployment import SHARED_RESULTS, Deployment
from service.errors import UsageError
from service.problem import Problem
from service.run_folder import installed_versions


def make_evaluator(
    problem: Problem, cache_dir: Path, inheritance: Inheritance | None = None
) -> Evaluator:
    """What gives the children their accuracy.

    Args:
        cache_dir: where a teacher's answers are kept.
        inheritance: weights for children that are not trained, if there are such.

    Raises:
        UsageError: `SHARED_RESULTS` is no usable URL.
    """
    config = problem.config
    if problem.measured is not None:
        assert config.evaluator.accuracy_column is not None
        return TableEvaluator(
            problem.measured,
            config.evaluator.accuracy_column,
            unit=config.evaluator.accuracy_unit,
        )
    assert problem.dataset is not None
    recipe = Recipe(
        lesson=problem.lesson and replace(problem.lesson, cache_dir=cache_dir),
        quantisation=config.quantisation if config.decides_bits else None,
        inheritance=inheritance,
    )
    here = Deployment.here()
    if config.evaluator.kind == "local":
        plain = TrainingEvaluator(problem.dataset, config.training, config.evaluator, recipe)
        return sharing(plain, here)
    settings = placed(config.evaluator, here)
    return sharing(RayEvaluator(problem.dataset, config.training, settings, recipe), here)


def placed(config: EvaluatorConfig, deployment: Deployment) -> EvaluatorConfig:
    """`config` with the cluster and the number of workers that the place decides; results do not depend on these."""
    return config.model_copy(
        update={
            "address": deployment.ray_address or config.address,
            "workers": deployment.workers(config.workers),
        }
    )


def sharing(evaluator: Evaluator, deployment: Deployment) -> Evaluator:
    """`evaluator`, which trains, with the results that jobs share, where there are such."""
    if deployment.shared_results is None:
        return evaluator
    try:
        shared = SharedResults(deployment.shared_results)
    except (ValueError, SharedResultsError) as error:
        raise UsageError(f"{SHARED_RESULTS}: {error}") from error
    made_with = json.dumps([installed_versions(), cpu_name()])
    origin = hashlib.sha256(made_with.encode()).hexdigest()[:16]
    return SharingEvaluator(evaluator, shared, origin=origin)
