"""What the mirror shows of an evaluation: parameters, three values, and attributes to sort and filter by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from archspace import Architecture, ArchitectureDocument, Choice, SearchSpace
from evaluation import Evaluation, Fidelity

if TYPE_CHECKING:
    from search.finals import Final

State = Literal["complete", "reduced", "failed", "rejected"]
"""reduced: not trained in full, so that it has no place on the study's front."""
Attribute = str | int | float | bool | None | list[float]


class Values(NamedTuple):
    """A study's objectives, in its order."""

    accuracy: float
    """Validation, share 0-1; more is better."""
    latency_ms: float
    energy_mj: float


@dataclass(frozen=True, kw_only=True)
class MirrorTrial:
    """One trial to be.

    `key` is unique in the run: what is there already is not added again. `document` gives the artifact's JSON,
    when it is needed; None for trials without one.
    """

    key: str
    state: State
    values: Values | None
    params: dict[str, Choice]
    attributes: dict[str, Attribute]
    document: Callable[[], str] | None
    is_final: bool = False


def trial_of(
    space: SearchSpace, session: str, evaluation: Evaluation, full: Fidelity
) -> MirrorTrial:
    """The trial of one proposal of the search; one that was not trained in full has its accuracy as an attribute."""
    fidelity = evaluation.fidelity or full
    strategy, _, seed = session.rpartition("-")
    architecture, costs, result = evaluation.architecture, evaluation.costs, evaluation.result
    attributes: dict[str, Attribute] = {
        "digest": architecture.digest,
        "label": architecture.label,
        "strategy": strategy,
        "seed": int(seed),
        "session": session,
        "sequence": evaluation.sequence,
        "fidelity": fidelity.name,
        "epochs": fidelity.epochs,
        "reward": evaluation.reward,
        "charged": evaluation.charged,
    }
    if costs is not None:
        attributes |= {
            "latency_predicted_ms": costs.latency_ms.value,
            "latency_std_ms": costs.latency_ms.std,
            "latency_source": costs.latency_ms.source,
            "latency_worst_ms": costs.latency_worst_ms.value,
            "energy_predicted_mj": costs.energy_mj.value,
            "energy_source": costs.energy_mj.source,
            "num_params": costs.num_params,
            "macs": costs.macs,
            "size_bytes": costs.size_bytes,
        }
    if result is not None:
        attributes |= {
            "accuracy_no_exit": result.accuracy_no_exit,
            "exit_shares": list(result.exit_shares),
            "failure": result.failure.value if result.failure else None,
            "message": result.message or None,
        }
    if evaluation.rejected:
        attributes["rejected"] = evaluation.rejected
    values = None
    reduced = evaluation.ok and not evaluation.is_full
    if reduced:
        attributes["accuracy"] = evaluation.accuracy
    elif evaluation.ok and costs is not None:
        values = Values(evaluation.accuracy, costs.latency_ms.value, costs.energy_mj.value)
    thresholds = result.exit_thresholds if result is not None else ()
    return MirrorTrial(
        key=f"{session}/{evaluation.sequence}",
        state=_state(evaluation, has_values=values is not None),
        values=values,
        params=space.named(architecture.choices),
        attributes={name: value for name, value in attributes.items() if value is not None},
        document=(lambda: _document(space, architecture, thresholds)) if values else None,
    )


def _state(evaluation: Evaluation, *, has_values: bool) -> State:
    if has_values:
        return "complete"
    if evaluation.ok and not evaluation.is_full:
        return "reduced"
    return "rejected" if evaluation.rejected else "failed"


def final_trials(
    space: SearchSpace, finals: Sequence[Final], fidelity: Fidelity
) -> list[MirrorTrial]:
    """One trial a picked network: the values are those after the full schedule, latency measured."""
    return [_final_trial(space, final, fidelity) for final in finals]


def _final_trial(space: SearchSpace, final: Final, fidelity: Fidelity) -> MirrorTrial:
    evaluation, trained, measured = final.evaluation, final.trained, final.measured
    architecture, costs = evaluation.architecture, evaluation.costs
    accuracy = trained.result.accuracy
    assert costs is not None, "picks have costs"
    assert accuracy is not None, "a final without accuracy is an error where it is trained"
    latency = final.latency_measured or costs.latency_ms
    attributes: dict[str, Attribute] = {
        "pick": final.pick,
        "digest": architecture.digest,
        "label": architecture.label,
        "strategy": "final",
        "sequence": evaluation.sequence,
        "fidelity": fidelity.name,
        "epochs": fidelity.epochs,
        "search_accuracy": evaluation.accuracy,
        "test_accuracy": trained.test_accuracy,
        "test_accuracy_no_exit": trained.test_accuracy_no_exit,
        "latency_source": latency.source,
        "latency_predicted_ms": costs.latency_ms.value,
        "latency_measured_ms": final.latency_measured.value if final.latency_measured else None,
        "latency_worst_ms": measured.latency_ms[-1].value if measured else None,
        "energy_predicted_mj": costs.energy_mj.value,
        "energy_source": costs.energy_mj.source,
        "num_params": costs.num_params,
        "macs": costs.macs,
        "exit_shares": list(trained.result.exit_shares),
    }
    thresholds = trained.result.exit_thresholds
    return MirrorTrial(
        key=f"final/{final.pick}/{architecture.digest}",
        state="complete",
        values=Values(accuracy, latency.value, costs.energy_mj.value),
        params=space.named(architecture.choices),
        attributes={name: value for name, value in attributes.items() if value is not None},
        document=lambda: _document(space, architecture, thresholds),
        is_final=True,
    )


def _document(space: SearchSpace, architecture: Architecture, thresholds: Sequence[float]) -> str:
    """The architecture file, without what only an export knows (classes, normalisation)."""
    network = space.resolve(architecture.choices)
    return ArchitectureDocument(
        digest=architecture.digest,
        label=architecture.label,
        network=network.with_thresholds(tuple(thresholds)) if thresholds else network,
        space={"kind": space.kind, "digest": space.digest},
        choices=space.named(architecture.choices),
    ).to_json()
