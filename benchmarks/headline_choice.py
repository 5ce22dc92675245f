"""Full trainings of found networks and their peers, and which of a search's picks is compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headline_records import FOUND, Lines, Trained
from mobilenet import peers, scaled_to

from archspace import Architecture, Network
from child_models import Dataset, TrainingConfig, count_macs, count_params
from evaluation import (
    ChildResult,
    ChildTask,
    EvaluatorConfig,
    Fidelity,
    RayEvaluator,
    TrainedChild,
    child_seed,
)

Named = tuple[str, Network]
Train = Callable[[Sequence[Named], int], list[Trained]]
"""Networks by name, and a seed → what came of each, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One of a search's picks. `latency_ms` is the search's own measurement, no exit taken."""

    pick: str
    network: Network
    latency_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The candidate that is compared, and its peers by name; `passed` as in `SeedRecord`."""

    candidate: Candidate
    peers: tuple[Named, ...]
    passed: bool


class Trainer:
    """Trains with the settings, the code and the workers that a search uses for its finals.

    A seed is the final's `replicate`, so seed 0 repeats what the search itself trained at the end. What is in `lines`
    is not trained again.
    """

    def __init__(
        self, dataset: Dataset, training: TrainingConfig, fidelity: Fidelity, lines: Lines[Trained]
    ) -> None:
        self._dataset, self._training = dataset, training
        self._fidelity, self._lines = fidelity, lines

    def __call__(self, networks: Sequence[Named], seed: int) -> list[Trained]:
        missing = [(name, net) for name, net in networks if self._known(name, net, seed) is None]
        if missing:
            tasks = [self._task(name, network, seed) for name, network in missing]
            with RayEvaluator(self._dataset, self._training, EvaluatorConfig()) as evaluator:
                for index, outcome in evaluator.train_final(tasks):
                    name, network = missing[index]
                    if isinstance(outcome, ChildResult):
                        raise SystemExit(
                            f"{name}, seed {seed}: its training failed: {outcome.failure}: {outcome.message}"
                        )
                    self._lines.add([_trained(name, network, seed, outcome)])
        known = [self._known(name, network, seed) for name, network in networks]
        return [record for record in known if record is not None]

    def _known(self, name: str, network: Network, seed: int) -> Trained | None:
        wanted = (name, network.digest, seed)
        records = self._lines.records
        return next((r for r in records if (r.name, r.digest, r.seed) == wanted), None)

    def _task(self, name: str, network: Network, seed: int) -> ChildTask:
        digest, fidelity = network.digest, self._fidelity
        return ChildTask(
            architecture=Architecture("", (), digest, label=name),
            network=network,
            fidelity=fidelity,
            replicate=seed,
            seed=child_seed(self._training.seed, digest, fidelity, seed),
        )


def _trained(name: str, network: Network, seed: int, child: TrainedChild) -> Trained:
    result = child.result
    assert result.accuracy is not None, "a trained child has accuracies"
    assert result.accuracy_no_exit is not None
    return Trained(
        name=name,
        digest=network.digest,
        seed=seed,
        num_params=count_params(network),
        macs=count_macs(network),
        validation_accuracy=result.accuracy_no_exit,
        test_accuracy=child.test_accuracy_no_exit,
        exit_validation_accuracy=result.accuracy,
        exit_test_accuracy=child.test_accuracy,
        exit_shares=result.exit_shares,
        train_seconds=result.train_seconds,
    )


def equal_peers(network: Network) -> tuple[Named, ...]:
    """The peers with as many parameters as `network` (± 5 %), for the same images and classes."""
    shape = network.input_shape
    return tuple(
        (
            peer.name,
            scaled_to(
                peer, count_params(network), input_shape=shape, num_classes=network.num_classes
            ),
        )
        for peer in peers(shape.height)
    )


def choose(
    candidates: Sequence[Candidate], train: Train, *, seed: int, num_validation: int
) -> Choice:
    """The fastest candidate that is surely no less accurate than its peers, on validation data alone.

    Surely: its validation accuracy after the full schedule, no exit taken, is at least one standard error of the
    difference above that of its most accurate peer. Where no candidate is, the one with the largest lead.
    """
    best: tuple[float, Choice] | None = None
    for candidate in sorted(candidates, key=lambda c: c.latency_ms):
        named = equal_peers(candidate.network)
        found, *others = train([(FOUND, candidate.network), *named], seed)
        lead = min(_lead(found, other, num_validation) for other in others)
        choice = Choice(candidate=candidate, peers=named, passed=lead >= 1)
        if choice.passed:
            return choice
        if best is None or lead > best[0]:
            best = (lead, choice)
    assert best is not None, "a search that ended has picks"
    return best[1]


def _lead(found: Trained, other: Trained, count: int) -> float:
    """Difference of two validation accuracies in standard errors; of two perfect ones 0."""
    a, b = found.validation_accuracy, other.validation_accuracy
    error = math.sqrt((a * (1 - a) + b * (1 - b)) / count)
    return (a - b) / error if error else 0.0
