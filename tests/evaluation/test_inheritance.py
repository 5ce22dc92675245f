"""Children that inherit a supernet's weights instead of being trained."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from archspace import StagedSpace
from child_models import Dataset, TrainingConfig
from child_models.supernet.config import SupernetConfig
from child_models.supernet.inheriting import inherit
from child_models.supernet.training import blocks_of, train_supernet
from evaluation import (
    ChildLimits,
    ChildTask,
    FailureReason,
    Fidelity,
    Inheritance,
    Recipe,
    child_seed,
)
from evaluation.child_runner import result_key, run_child
from evaluation.evaluator import task_key

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINING = TrainingConfig()


@pytest.fixture(scope="module")
def inheritance(space: StagedSpace, data: Dataset) -> Inheritance:
    weights = train_supernet(space, data, TRAINING, SupernetConfig(epochs=2))
    return Inheritance(blocks=blocks_of(space), arrays=weights.arrays(), seed=TRAINING.seed)


@pytest.fixture
def task(space: StagedSpace, inheritance: Inheritance) -> ChildTask:
    choices = space.sample(np.random.default_rng(2))
    return ChildTask(
        architecture=space.architecture(choices),
        network=space.resolve(choices),
        fidelity=Fidelity(name="supernet", epochs=1, cost=0.02, supernet=inheritance.digest),
        seed=5,
        replicate=0,
    )


def test_a_child_gets_the_accuracy_of_its_part_of_the_weights(
    task: ChildTask, data: Dataset, inheritance: Inheritance
) -> None:
    shipped = pickle.loads(pickle.dumps(Recipe(inheritance=inheritance)))
    found = run_child(task, data, TRAINING, ChildLimits(), "w", shipped)
    assert task.network is not None
    expected = inherit(task.network, inheritance.weights, data, TRAINING)
    assert found.failure is None
    assert found.accuracy == expected.exit_choice.accuracy
    assert found.exit_shares == expected.exit_choice.shares
    # nothing of it depends on the child's seed
    again = run_child(replace(task, seed=6), data, TRAINING, ChildLimits(), "w", shipped)
    assert again.accuracy == found.accuracy


def test_other_weights_than_those_asked_for_are_refused(
    task: ChildTask, data: Dataset, inheritance: Inheritance
) -> None:
    name = next(iter(inheritance.arrays))
    changed = {**inheritance.arrays, name: inheritance.arrays[name] + 1}
    other = replace(inheritance, arrays=changed)
    assert other.digest != inheritance.digest
    for recipe in (Recipe(), Recipe(inheritance=other)):
        found = run_child(task, data, TRAINING, ChildLimits(), "w", recipe)
        assert found.failure is FailureReason.CRASH
        assert inheritance.digest in found.message


def test_results_are_kept_apart_by_weights_and_only_those_that_depend_on_them(
    task: ChildTask, data: Dataset, inheritance: Inheritance
) -> None:
    plain = result_key(data, TRAINING)
    assert result_key(data, TRAINING, Recipe(inheritance=inheritance)) == plain
    trained = replace(task, fidelity=replace(task.fidelity, supernet=""))
    other = replace(task, fidelity=replace(task.fidelity, supernet="0" * 16))
    assert len({task_key(plain, each) for each in (task, trained, other)}) == 3
    seeds = {child_seed(0, "d", each.fidelity, 0) for each in (task, trained, other)}
    assert len(seeds) == 3
