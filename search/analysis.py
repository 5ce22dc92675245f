"""What a search learnt: which decisions mattered, what its policy believes, how well its surrogate ranked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from archspace import SearchSpace, write_atomic
from evaluation import Evaluation, Fidelity
from search.rung_correlations import RungCorrelation, RungCount, rung_correlations, rung_counts

ANALYSIS_FILE = "analysis.json"
LEAST_CHILDREN = 20
"""Children below which nothing is said of decisions."""
LEAST_EXPLAINED = 0.1
"""Out-of-bag R² below which children say nothing of decisions."""
_TREES = 200
_PERMUTATIONS = 10


@dataclass(frozen=True, slots=True)
class Belief:
    """What a policy would choose.

    `probabilities`: choice, as text → probability; mean over networks that the policy samples for the objective's
    weights, decisions with a single valid choice left out.
    """

    decision: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well a surrogate ranked left-out children when it had `children` of them (Spearman correlation)."""

    children: int
    correlation: float


@dataclass(frozen=True, slots=True)
class SupernetVerdict:
    """Whether the rung of shared weights was used.

    Attributes:
        children: evaluated with shared weights and in full, failed ones left out.
        spearman: rank correlation of their accuracies; None where it cannot be told.
        least: what was asked for.
        used: whether it was reached.
    """

    children: int
    spearman: float | None
    least: float
    used: bool

    @property
    def text(self) -> str:
        found = "unknown" if self.spearman is None else f"{self.spearman:.2f}"
        outcome = "used" if self.used else "the rung is left out"
        return (
            f"supernet: rank correlation {found} with {self.children} children trained in full, "
            f"{self.least:g} asked for: {outcome}"
        )


@dataclass(frozen=True)
class Learnt:
    """What a search can tell when it has ended; empty where it learns no such thing."""

    beliefs: tuple[Belief, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    supernet: SupernetVerdict | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """How much a decision matters for the reward.

    Attributes:
        decision: its name.
        share: of all decisions' importance, 0-1.
        best: the choice whose children have the highest mean reward, as text.
        gain: that mean minus the mean of all children.
    """

    decision: str
    share: float
    best: str
    gain: float


@dataclass(frozen=True)
class Analysis:
    """All of it, for one session.

    `explained`: share of the rewards' variance that decisions explain on children not used (out-of-bag R²), None
    where there are fewer than 20 children, or all have the same reward; `importances` are empty where it is below 0.1.
    Only children trained in full count there. `rungs` and `rung_correlations` are empty without halving.
    """

    session: str
    explained: float | None
    importances: tuple[Importance, ...]
    learnt: Learnt = field(default_factory=Learnt)
    rungs: tuple[RungCount, ...] = ()
    rung_correlations: tuple[RungCorrelation, ...] = ()

    def write(self, path: Path) -> None:
        """As JSON."""
        write_atomic(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")


def analyse(
    session: str,
    space: SearchSpace,
    evaluations: Sequence[Evaluation],
    learnt: Learnt,
    rungs: Sequence[Fidelity] = (),
) -> Analysis:
    """Importance by permutation in a random forest over choices (Breiman 2001, section 10), and what was learnt.

    Args:
        rungs: the fidelities of a search with halving, the full one last.
    """
    explained, importances = _importances(space, evaluations)
    return Analysis(
        session,
        explained,
        importances,
        learnt,
        rung_counts(evaluations, rungs),
        rung_correlations(evaluations, rungs),
    )


def _importances(
    space: SearchSpace, evaluations: Sequence[Evaluation]
) -> tuple[float | None, tuple[Importance, ...]]:
    """(share explained, importances); see `Analysis`."""
    children = [e for e in evaluations if e.ok and e.is_new and e.is_full]
    rewards = np.array([child.reward for child in children])
    if len(children) < LEAST_CHILDREN or np.ptp(rewards) == 0:
        return None, ()
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    choices = np.array([child.architecture.choices for child in children])
    forest = RandomForestRegressor(_TREES, min_samples_leaf=2, oob_score=True, random_state=0)
    forest.fit(choices, rewards)
    explained = float(forest.oob_score_)
    if explained < LEAST_EXPLAINED:
        return explained, ()
    found = permutation_importance(
        forest, choices, rewards, n_repeats=_PERMUTATIONS, random_state=0
    )
    weights = np.maximum(found.importances_mean, 0.0)
    shares = weights / max(float(weights.sum()), 1e-12)
    importances = []
    for position in np.argsort(-shares, kind="stable"):
        if shares[position] == 0:
            break
        decision, column = space.decisions[position], choices[:, position]
        means = {choice: rewards[column == choice].mean() for choice in np.unique(column)}
        best = max(means, key=lambda choice: means[choice])
        importances.append(
            Importance(
                decision=decision.name,
                share=float(shares[position]),
                best=str(decision.choices[int(best)]),
                gain=float(means[best] - rewards.mean()),
            )
        )
    return explained, tuple(importances)
