"""Children that learn from a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archspace import Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import Dataset, TrainingConfig, train_child
from compress import DistilConfig, TrainedModel
from evaluation import ChildLimits, ChildTask, Fidelity, Lesson, Recipe, TrainingEvaluator
from evaluation.child_runner import result_key, run_child, run_final

LIMITS = ChildLimits()


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def space() -> StagedSpace:
    config = StagedSpaceConfig(
        kind="staged",
        stem_channels=8,
        stages=(
            StageConfig(channels=16, layers=1, stride=1),
            StageConfig(channels=24, layers=1, stride=2),
        ),
    )
    return StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)


@pytest.fixture(scope="module")
def lesson(space: StagedSpace, data: Dataset) -> Lesson:
    network = space.resolve(space.sample(np.random.default_rng(1)))
    trained = train_child(network, data, TrainingConfig(), epochs=3, seed=0)
    return Lesson(teacher=TrainedModel.of(network, trained.weights), config=DistilConfig())


@pytest.fixture(scope="module")
def task(space: StagedSpace) -> ChildTask:
    choices = space.sample(np.random.default_rng(2))
    return ChildTask(
        architecture=space.architecture(choices),
        network=space.resolve(choices),
        fidelity=Fidelity(name="search", epochs=2),
        seed=5,
        replicate=0,
    )


def test_a_teacher_changes_what_children_learn_and_nothing_else(
    task: ChildTask, data: Dataset, lesson: Lesson
) -> None:
    taught = run_final(task, data, TrainingConfig(), LIMITS, "w", Recipe(lesson=lesson))
    again = run_final(task, data, TrainingConfig(), LIMITS, "w", Recipe(lesson=lesson))
    alone = run_final(task, data, TrainingConfig(), LIMITS, "w")
    assert taught.weights.keys() == alone.weights.keys()  # type: ignore[union-attr]
    name = next(iter(taught.weights))  # type: ignore[union-attr]
    np.testing.assert_array_equal(taught.weights[name], again.weights[name])  # type: ignore[union-attr]
    assert not np.array_equal(taught.weights[name], alone.weights[name])  # type: ignore[union-attr]
    child = run_child(task, data, TrainingConfig(), LIMITS, "w", Recipe(lesson=lesson))
    assert child.accuracy == taught.result.accuracy  # type: ignore[union-attr]


def test_results_are_kept_apart_by_teacher_and_lesson(data: Dataset, lesson: Lesson) -> None:
    training = TrainingConfig()
    other = replace(lesson, config=DistilConfig(views=2))
    weights = {**lesson.teacher.weights}
    first = next(iter(weights))
    weights[first] = weights[first] + 1
    changed = replace(lesson, teacher=replace(lesson.teacher, weights=weights))
    keys = {
        result_key(data, training, Recipe(lesson=each)) for each in (None, lesson, other, changed)
    }
    assert len(keys) == 4
    moved = replace(lesson, cache_dir=Path("/elsewhere"))
    assert result_key(data, training, Recipe(lesson=moved)) == result_key(
        data, training, Recipe(lesson=lesson)
    )
    assert TrainingEvaluator(data, training, None, Recipe(lesson=lesson)).key == result_key(
        data, training, Recipe(lesson=lesson)
    )


def test_limits_hold_with_a_teacher(task: ChildTask, data: Dataset, lesson: Lesson) -> None:
    result = run_child(
        task, data, TrainingConfig(), ChildLimits(timeout_s=1e-3), "w", Recipe(lesson=lesson)
    )
    assert result.failure is not None
    assert result.failure.name == "TIMEOUT"


def test_answers_are_kept_for_all_children(
    task: ChildTask, data: Dataset, lesson: Lesson, tmp_path: Path
) -> None:
    kept = replace(lesson, config=DistilConfig(views=1), cache_dir=tmp_path / "teacher")
    assert run_child(task, data, TrainingConfig(), LIMITS, "w", Recipe(lesson=kept)).failure is None
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "teacher").rglob("*.npy")}
    assert files
    assert (
        run_child(
            replace(task, seed=6), data, TrainingConfig(), LIMITS, "w", Recipe(lesson=kept)
        ).failure
        is None
    )
    assert {path: path.stat().st_mtime_ns for path in files} == files
