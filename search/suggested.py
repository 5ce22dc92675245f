"""After a search: networks within limits that its policy suggests and nobody has trained yet."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from archspace import Architecture
from evaluation import ChildResult, ChildTask, Evaluation, FailureReason, LimitsConfig, child_seed
from evaluation.limits import violation
from search.front_costs import measure_front, within_limits
from search.parts import Phase, RunParts
from search.sessions import checkpoint_dir, open_session
from search.strategies import PPOConfig, make_strategy

_log = logging.getLogger(__name__)

TRAINED = 3
"""Suggestions that are trained at the search's schedule before one is believed."""


def best_suggestion(
    parts: RunParts, limits: LimitsConfig, history: Sequence[Evaluation], *, better_than: float
) -> Evaluation | None:
    """A network within `limits` with a higher accuracy than `better_than` (share 0-1); None where there is none.

    Networks that the policy builds within the limits are ranked by the search's surrogate. Those that should be better
    even one standard deviation below what it expects, at most 3, are trained as children of the search are; what came
    of them is a record of the ledger. Nothing is suggested by searches without a policy, or where nothing is trained.
    """
    found: list[Evaluation] = []
    for architecture in _promising(parts, limits, history, better_than):
        evaluation = _trained(parts, architecture, sequence=len(history))
        if not evaluation.ok or evaluation.accuracy <= better_than:
            continue
        costs = measure_front(parts, [evaluation])[architecture.digest]
        if within_limits(limits, costs) and within_limits(parts.limits, costs):
            found.append(evaluation)
    return max(found, key=lambda e: e.accuracy, default=None)


def _promising(
    parts: RunParts, limits: LimitsConfig, history: Sequence[Evaluation], better_than: float
) -> list[Architecture]:
    config = parts.search.strategy
    if not isinstance(config, PPOConfig) or parts.dataset is None or parts.search.halving:
        return []  # (with halving there are no checkpoints)
    from search.strategies.ppo import PPOSearch  # loads torch and Stable-Baselines3

    session = open_session(parts, config)
    strategy = make_strategy(
        config,
        space=parts.space,
        bounds=parts.bounds,
        seed=parts.seed,
        objective=parts.objective,
        checkpoint_dir=checkpoint_dir(parts, session),
    )
    assert isinstance(strategy, PPOSearch)
    own = (limits.latency_ms or math.inf, limits.energy_mj or math.inf)
    known = {evaluation.architecture.digest for evaluation in history}
    chosen: dict[str, Architecture] = {}
    for suggestion in strategy.suggest(session, history, own):
        if suggestion.careful <= better_than or len(chosen) == TRAINED:
            break
        architecture = parts.space.architecture(suggestion.choices)
        costs = parts.costing.costs(architecture, parts.resolve(suggestion.choices), None)
        if costs is None or violation(costs, limits) or violation(costs, parts.limits):
            continue
        if architecture.digest not in known:
            chosen.setdefault(architecture.digest, architecture)
    return list(chosen.values())


def _trained(parts: RunParts, architecture: Architecture, sequence: int) -> Evaluation:
    """As a child of the search, outside of its budget; done ones are read back."""
    record = parts.ledger.get_record(_name(architecture))
    if record is None:
        parts.on_phase(Phase("search", f"{architecture.digest}, which the policy suggests"))
        result = _train(parts, architecture)
        parts.ledger.put_record(_name(architecture), asdict(result))
    else:
        result = _from_record(record)
    network = parts.resolve(architecture.choices)
    shares = result.exit_shares if result.accuracy is not None else None
    costs = parts.costing.costs(architecture, network, shares)
    reward = parts.objective.failure_reward
    if result.accuracy is not None and costs is not None:
        latency, energy = costs.latency_ms.value, costs.energy_mj.value
        reward = parts.objective.reward(result.accuracy, latency, energy, sequence)
    return Evaluation(
        sequence=sequence,
        architecture=architecture,
        result=result,
        costs=costs,
        reward=reward,
        charged=0.0,
        is_new=True,
    )


def _train(parts: RunParts, architecture: Architecture) -> ChildResult:
    fidelity = parts.schedule.search
    task = ChildTask(
        architecture=architecture,
        network=parts.resolve(architecture.choices),
        fidelity=fidelity,
        replicate=0,
        seed=child_seed(parts.training_seed, architecture.digest, fidelity, 0),
    )
    ((_, result),) = parts.evaluator.evaluate([task])
    if result.failure is not None:
        _log.warning("%s: %s: %s", architecture.digest, result.failure, result.message)
    return result


def _name(architecture: Architecture) -> str:
    return f"suggested/{architecture.digest}"


def _from_record(record: Mapping[str, Any]) -> ChildResult:
    values = dict(record)
    for key in ("exit_thresholds", "exit_shares"):
        values[key] = tuple(values[key])
    failure = values.pop("failure")
    return ChildResult(**values, failure=failure and FailureReason(failure))
