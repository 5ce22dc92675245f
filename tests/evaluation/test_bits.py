"""Children whose layers were given fewer bits: what they score is what runs on the device."""

from __future__ import annotations

import numpy as np
import pytest

from archspace import Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import Dataset, TrainingConfig, train_child
from compress import ChildQuantiseConfig, Quantisation, TrainedModel, int8_onnx
from evaluation import ChildLimits, ChildTask, Fidelity, Recipe, TrainedChild
from evaluation.child_runner import result_key, run_child, run_final

LIMITS = ChildLimits()
PTQ = Recipe(quantisation=ChildQuantiseConfig())


pytestmark = pytest.mark.usefixtures("one_thread")


def task_with(bits: tuple[int, ...]) -> ChildTask:
    config = StagedSpaceConfig(
        stem_channels=8,
        stages=(StageConfig(channels=16, layers=1), StageConfig(channels=24, layers=1, stride=2)),
        operations=("dwconv_k3",),
        keep_ratios=(1.0,),
        bits=bits,
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    choices = space.sample(np.random.default_rng(2))
    return ChildTask(
        architecture=space.architecture(choices),
        network=space.resolve(choices),
        fidelity=Fidelity(name="search", epochs=4),
        replicate=0,
        seed=7,
    )


def final(task: ChildTask, data: Dataset, recipe: Recipe) -> TrainedChild:
    trained = run_final(task, data, TrainingConfig(), LIMITS, "w", recipe)
    assert isinstance(trained, TrainedChild), trained
    return trained


def test_a_child_of_8_bits_scores_what_it_scores_in_int8(data: Dataset) -> None:
    task = task_with((8,))
    trained = final(task, data, PTQ)
    assert task.network is not None
    assert trained.quantisation is not None
    model = TrainedModel(
        network=task.network.with_thresholds(trained.result.exit_thresholds),
        weights={name: np.asarray(w, np.float32) for name, w in trained.weights.items()},
        quantisation=Quantisation.from_json(trained.quantisation),
    )
    assert model.network.digest == task.architecture.digest
    assert model.accuracy(data.test, data) == pytest.approx(trained.test_accuracy)
    assert model.accuracy(data.validation, data) == pytest.approx(trained.result.accuracy)
    assert run_child(task, data, TrainingConfig(), LIMITS, "w", PTQ).accuracy == (
        trained.result.accuracy
    )
    int8_onnx(model)  # raises where INT8 kernels cannot run it


def test_fewer_bits_cost_accuracy_and_short_training_wins_it_back(data: Dataset) -> None:
    float32 = run_child(task_with((32,)), data, TrainingConfig(), LIMITS, "w")
    eight, two = (
        run_child(task_with((bits,)), data, TrainingConfig(), LIMITS, "w", PTQ) for bits in (8, 2)
    )
    qat = Recipe(quantisation=ChildQuantiseConfig(mode="qat", epochs=4))
    tuned = run_child(task_with((2,)), data, TrainingConfig(), LIMITS, "w", qat)
    assert float32.accuracy is not None
    assert eight.accuracy is not None
    assert two.accuracy is not None
    assert tuned.accuracy is not None
    # equal seeds: the first two are one network, trained alike
    assert abs(eight.accuracy - float32.accuracy) < 0.03
    assert two.accuracy < float32.accuracy - 0.1
    assert tuned.accuracy > two.accuracy + 0.05


def test_float32_children_are_trained_as_ever(data: Dataset) -> None:
    task = task_with((32,))
    assert task.network is not None
    trained = final(task, data, PTQ)
    plain = train_child(task.network, data, TrainingConfig(), epochs=4, seed=7)
    assert trained.quantisation is None
    assert all(np.array_equal(trained.weights[name], w) for name, w in plain.weights.items())


def test_without_settings_a_child_with_bits_fails_with_the_reason(data: Dataset) -> None:
    result = run_child(task_with((8,)), data, TrainingConfig(), LIMITS, "w")
    assert result.failure == "CRASH"
    assert "quantisation" in result.message


def test_results_are_kept_apart_by_how_children_are_quantised(data: Dataset) -> None:
    other = Recipe(quantisation=ChildQuantiseConfig(calibration_images=9))
    keys = {result_key(data, TrainingConfig(), recipe) for recipe in (Recipe(), PTQ, other)}
    assert len(keys) == 3


@pytest.mark.parametrize(
    "wrong", [{"mode": "qat"}, {"epochs": 2}, {"mode": "codebook"}, {"calibration_images": 0}]
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        ChildQuantiseConfig.model_validate(wrong)
