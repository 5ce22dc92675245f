"""Full trainings of found networks and their peers, and which network of a search's front meets which peer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headline_records import FOUND, Lines, Trained
from mobilenet import MobileNet, scaled_to

from archspace import Architecture, Network
from child_models import count_macs, count_params
from evaluation import (
    ChildResult,
    ChildTask,
    Evaluator,
    Fidelity,
    TrainedChild,
    child_seed,
)

Named = tuple[str, Network]
Train = Callable[[Sequence[Named], int], list[Trained]]
"""Networks by name, and a seed → what came of each, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One network of a search's front. `latency_ms` is what the search predicted, no exit taken."""

    network: Network
    latency_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The found network that meets a peer with as many parameters; `passed` as in `Pair`."""

    found: Network
    peer: Named
    passed: bool


class Trainer:
    """Trains with the settings, the code and the workers that a search uses for its finals.

    A seed is the final's `replicate`, so seed 0 repeats what the search itself trained at the end. What is in `lines`
    is not trained again.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        training_seed: int,
        fidelity: Fidelity,
        lines: Lines[Trained],
    ) -> None:
        self._evaluator, self._training_seed = evaluator, training_seed
        self._fidelity, self._lines = fidelity, lines

    def __call__(self, networks: Sequence[Named], seed: int) -> list[Trained]:
        missing = list(
            {
                (name, network.digest): (name, network)
                for name, network in networks
                if self._known(name, network, seed) is None
            }.values()
        )
        tasks = [self._task(name, network, seed) for name, network in missing]
        for index, outcome in self._evaluator.train_final(tasks) if tasks else ():
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
            seed=child_seed(self._training_seed, digest, fidelity, seed),
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


def equal_peer(peer: MobileNet, network: Network) -> Named:
    """`peer` with as many parameters as `network` (± 5 %), for the same images and classes."""
    shape, classes = network.input_shape, network.num_classes
    params = count_params(network)
    return peer.name, scaled_to(peer, params, input_shape=shape, num_classes=classes)


def choose(
    candidates: Sequence[Candidate],
    peer: MobileNet,
    train: Train,
    *,
    seed: int,
    num_validation: int,
) -> Choice:
    """The fastest candidate that is surely no less accurate than the peer of its size, on validation data alone.

    Surely: its validation accuracy after the full schedule, no exit taken, is at least one standard error of the
    difference above the peer's. Where no candidate is, the one with the largest lead.
    """
    best: tuple[float, Choice] | None = None
    for candidate in sorted(candidates, key=lambda c: c.latency_ms):
        named = equal_peer(peer, candidate.network)
        found, other = train([(FOUND, candidate.network), named], seed)
        lead = _lead(found, other, num_validation)
        choice = Choice(found=candidate.network, peer=named, passed=lead >= 1)
        if choice.passed:
            return choice
        if best is None or lead > best[0]:
            best = (lead, choice)
    assert best is not None, "a front is never empty"
    return best[1]


def _lead(found: Trained, other: Trained, count: int) -> float:
    """Difference of two validation accuracies in standard errors; of two perfect ones 0."""
    a, b = found.validation_accuracy, other.validation_accuracy
    error = math.sqrt((a * (1 - a) + b * (1 - b)) / count)
    return (a - b) / error if error else 0.0
