"""Full trainings of found networks and their peers."""

from __future__ import annotations

from collections.abc import Sequence

from headline_choice import Named
from headline_records import Lines, Trained

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
