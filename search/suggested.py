"""After a search: networks within limits that its policy suggests and nobody has trained yet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from archspace import Architecture
from evaluation import Evaluation, LimitsConfig, violation
from search.front_costs import measure_front, within_limits
from search.parts import Phase, RunParts
from search.sessions import checkpoint_dir, open_session
from search.strategies import PPOConfig, make_strategy

TRAINED = 3
"""Suggestions that are trained at the search's schedule before one is believed."""


def best_suggestion(
    parts: RunParts, limits: LimitsConfig, history: Sequence[Evaluation], *, better_than: float
) -> Evaluation | None:
    """A network within `limits` with a higher accuracy than `better_than` (share 0-1); None where there is none.

    Networks that the policy builds within the limits are ranked by the search's surrogate. Those that should be better
    even one standard deviation below what it expects, at most 3, are trained as children of the search are; the ledger
    keeps what came of them. Nothing is suggested by searches without a policy, or where nothing is trained.
    """
    found: list[Evaluation] = []
    for architecture in _promising(parts, limits, history, better_than):
        evaluation = _trained(parts, architecture)
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
    if not isinstance(config, PPOConfig) or parts.dataset is None or parts.search.window:
        return []  # (with a window of children under way there are no checkpoints)
    from search.strategies.ppo import PPOSearch  # loads torch and Stable-Baselines3

    session = open_session(parts, config.name)
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


def _trained(parts: RunParts, architecture: Architecture) -> Evaluation:
    """As a child of the search, outside of its budget; what was trained once is replayed.

    A session of its own for each: it is proposed again whenever it is suggested, in whatever order.
    """
    parts.on_phase(Phase("search", f"{architecture.digest}, which the policy suggests"))
    session = open_session(parts, f"suggested-{architecture.digest}", budget=1)
    while True:
        was_replay = session.replaying
        (evaluation,) = session.evaluate([architecture.choices])
        failure = evaluation.result and evaluation.result.failure
        if not (was_replay and failure and failure.is_infrastructure):
            return evaluation
