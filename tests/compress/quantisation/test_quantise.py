"""The step as a whole: after training, while training, with a codebook, and under a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from child_models import AugmentationConfig, ChildModule, Dataset, TrainingConfig
from child_models.scoring import evaluate_module
from compress.distillation.combined_loss import DistilLoss, distil_loss
from compress.distillation.config import DistilConfig
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.errors import BudgetUnreachable, NotFinite, QuantisationError
from compress.quantisation.grids import Grid
from compress.quantisation.plan import BitPlan
from compress.quantisation.post_training import (
    WeightCalibration,
    observe_maps,
    weight_forms,
    with_weights_rounded,
)
from compress.quantisation.qat import Learning, freezing, prepare_training, trained_quantised
from compress.quantisation.quantise import Quantised, quantise
from compress.quantisation.quantisers import RangeQuantiser
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel
from compress.tuning import tune

TRAINING = TrainingConfig(learning_rate=0.003, augmentation=AugmentationConfig(shift=0, flip=False))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run(model: TrainedModel, dataset: Dataset, **config: object) -> Quantised:
    return quantise(model, dataset, QuantiseConfig.model_validate(config), TRAINING, seed=0)


def test_eight_bits_after_training_lose_at_most_a_point(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    result = run(trained_digits, digits)
    assert result.accuracy_before > 0.9  # else there would be nothing to lose
    assert result.accuracy_after >= result.accuracy_before - 0.01
    assert result.execution == "int8"
    assert {layer.bits for layer in result.layers} == {8}
    assert 0.15 < result.size_bytes / result.size_before_bytes < 0.6  # small layers: much is scales
    again = run(trained_digits, digits)
    for name, values in result.model.weights.items():
        np.testing.assert_array_equal(values, again.model.weights[name])


def test_weights_held_are_numbers_of_their_grids(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    model = run(trained_digits, digits, weight_bits=4).model
    assert model.quantisation is not None
    for name, grid in model.quantisation.weights.items():
        op = "linear" if name in ("early", "logits") else "conv"
        weight = model.weights[f"layers.{name}.{op}.weight"]
        np.testing.assert_array_equal(grid.nearest(weight), weight)
        assert all(len(np.unique(channel)) <= 15 for channel in weight)
    assert {n.bits for n in model.network.layers if n.op == "conv"} == {4}
    assert {n.bits for n in model.network.layers if n.op == "add"} == {32}


def test_scopes(trained_digits: TrainedModel, digits: Dataset) -> None:
    weights = run(trained_digits, digits, scope="weights").model
    maps = run(trained_digits, digits, scope="maps").model
    assert weights.quantisation is not None
    assert maps.quantisation is not None
    assert not weights.quantisation.maps
    assert not maps.quantisation.weights
    for name, values in trained_digits.weights.items():
        np.testing.assert_array_equal(maps.weights[name], values)
    plain = trained_digits.logits(digits.validation, digits)[-1]
    assert 0 < np.abs(maps.logits(digits.validation, digits)[-1] - plain).max() < 2
    assert 0 < np.abs(weights.logits(digits.validation, digits)[-1] - plain).max() < 2


@pytest.mark.parametrize(
    "how",
    [Learning(), Learning(learned_scales=True), Learning(weight_noise=0.2, seed=3)],
    ids=["ste", "lsq", "noise"],
)
def test_converting_keeps_the_outputs(
    trained_digits: TrainedModel, digits: Dataset, how: Learning
) -> None:
    forms = weight_forms(
        trained_digits, BitPlan.uniform(4).bits(trained_digits.network), WeightCalibration()
    )
    seen = observe_maps(trained_digits, digits, images=64, histograms=False, seed=0)
    maps = {name: observer.grid(8, method="minmax") for name, observer in seen.items()}
    start = Quantisation(weights=forms, maps=maps)
    module = prepare_training(trained_digits, start, seen, how)
    tuned = tune(
        trained_digits,
        digits,
        TRAINING.model_copy(update={"precision": "fp32"}),
        epochs=1,
        seed=0,
        module=module,
        on_step=freezing(module, 0.3),
    )
    model = trained_quantised(tuned.model, module)
    assert model.quantisation is not None
    stem = model.quantisation.weights["stem"]
    assert isinstance(stem, Grid)
    assert isinstance(forms["stem"], Grid)
    assert (stem.scale != forms["stem"].scale).any()  # it did adapt
    found = evaluate_module(module, digits.validation, digits)
    for ours, theirs in zip(model.logits(digits.validation, digits), found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_scales_stay_in_the_last_share_of_the_steps(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    bits = BitPlan.uniform(8).bits(trained_digits.network)
    forms = weight_forms(trained_digits, bits, WeightCalibration())
    module = prepare_training(trained_digits, Quantisation(weights=forms), {}, Learning())
    stem = module.weight_quantisers["stem"]
    assert isinstance(stem, RangeQuantiser)
    scales: list[torch.Tensor] = []
    tune(
        trained_digits,
        digits,
        TRAINING,
        epochs=1,
        seed=0,
        module=module,
        on_step=freezing(module, 0.5, lambda _done, _total: scales.append(stem.scale.clone())),
    )
    half = len(scales) // 2
    assert len({tuple(s.tolist()) for s in scales[:half]}) == half
    assert len({tuple(s.tolist()) for s in scales[half:]}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("scales", ["ste", "lsq"])
def test_training_brings_two_bits_back(
    trained_digits: TrainedModel, digits: Dataset, scales: str
) -> None:
    after = run(trained_digits, digits, weight_bits=2).accuracy_after
    trained = run(trained_digits, digits, mode="qat", weight_bits=2, scales=scales, epochs=6)
    assert trained.accuracy_after > after + 0.2


@pytest.mark.slow
def test_trained_centroids_are_better_than_found_ones(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    found = run(trained_digits, digits, mode="codebook", weight_bits=2, epochs=0)
    trained = run(trained_digits, digits, mode="codebook", weight_bits=2, epochs=4)
    assert trained.accuracy_after > found.accuracy_after + 0.1
    assert trained.size_bytes == found.size_bytes
    assert trained.execution == "float32"


def test_a_teacher_can_guide_training_in_fewer_bits(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    config = QuantiseConfig(mode="qat", epochs=1)
    made: list[DistilLoss] = []

    @contextmanager
    def teach(module: ChildModule) -> Iterator[DistilLoss]:
        with distil_loss(
            module,
            trained_digits.network,
            trained_digits,
            digits,
            DistilConfig(),
            TRAINING,
            epochs=1,
            seed=0,
        ) as loss:
            made.append(loss)
            yield loss

    taught = quantise(trained_digits, digits, config, TRAINING, seed=0, teach=teach)
    alone = quantise(trained_digits, digits, config, TRAINING, seed=0)
    (log,) = made[0].logs()
    assert {term.term for term in log.terms} == {"hard", "soft", "feature", "attention"}
    name = "layers.stem.conv.weight"
    assert not np.array_equal(taught.model.weights[name], alone.model.weights[name])


def test_a_limit_on_size_holds(trained_digits: TrainedModel, digits: Dataset) -> None:
    eight = run(trained_digits, digits, scope="weights")
    limit = eight.size_bytes - 500
    lower = run(trained_digits, digits, scope="weights", max_size_bytes=limit)
    assert lower.size_bytes <= limit
    assert len({layer.bits for layer in lower.layers}) > 1
    assert len(lower.sensitivities) == 7 * 7
    with pytest.raises(BudgetUnreachable, match="with the fewest bits everywhere"):
        run(trained_digits, digits, scope="weights", max_size_bytes=100)


def test_nan_weights_are_refused_by_name(trained_digits: TrainedModel, digits: Dataset) -> None:
    weights = dict(trained_digits.weights)
    weights["layers.deep.conv.weight"] = np.full_like(weights["layers.deep.conv.weight"], np.nan)
    with pytest.raises(NotFinite, match="layer deep: 144 of 144 numbers"):
        run(replace(trained_digits, weights=weights), digits)


def test_quantising_twice_is_refused(trained_digits: TrainedModel, digits: Dataset) -> None:
    once = run(trained_digits, digits)
    with pytest.raises(QuantisationError, match="quantised already"):
        run(once.model, digits)


def test_forms_that_do_not_fit_the_network_are_refused(trained_digits: TrainedModel) -> None:
    forms = weight_forms(trained_digits, {"stem": 4}, WeightCalibration())
    rounded = with_weights_rounded(trained_digits, forms)
    with pytest.raises(QuantisationError, match="fewer than 32 bits, but no grid"):
        replace(rounded, quantisation=None)
    other = weight_forms(trained_digits, {"stem": 8}, WeightCalibration())
    with pytest.raises(QuantisationError, match="says 4 bits, its weights have 8"):
        replace(rounded, quantisation=Quantisation(weights=other))
    with pytest.raises(QuantisationError, match="no such conv or linear"):
        weight_forms(trained_digits, {"sum": 4}, WeightCalibration())
    grid = Grid.of_range(0.0, 1.0, 8, symmetric=False)
    with pytest.raises(QuantisationError, match="map 'nowhere'"):
        replace(trained_digits, quantisation=Quantisation(maps={"nowhere": grid}))


def test_json_keeps_everything(trained_digits: TrainedModel, digits: Dataset) -> None:
    full = run(trained_digits, digits, weight_bits=3).model
    coded = run(trained_digits, digits, mode="codebook", epochs=0, weight_bits=3).model
    for model in (full, coded):
        assert model.quantisation is not None
        again = replace(model, quantisation=Quantisation.from_json(model.quantisation.to_json()))
        for ours, theirs in zip(
            model.logits(digits.validation, digits),
            again.logits(digits.validation, digits),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(QuantisationError, match="not a quantisation file"):
        Quantisation.from_json("{}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "qat", "epochs": 0}, "trains; expected at least 1"),
        ({"mode": "codebook", "scope": "maps"}, "a codebook is for weights"),
        ({"weight_noise": 0.1}, "only mode"),
        ({"scope": "maps", "max_size_bytes": 10}, "do not get smaller"),
        ({"weight_bits": 9}, "weight_bits"),
        ({"map_bits": 1}, "map_bits"),
        ({"colour": "red"}, "colour"),
        ({"weight_bits": {"depthwise": 1}}, "depthwise"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QuantiseConfig.model_validate(fields)


def test_noise_is_a_share_of_the_step_and_only_while_training(trained_digits: TrainedModel) -> None:
    forms = weight_forms(trained_digits, {"wide": 8}, WeightCalibration())
    how = Learning(weight_noise=0.5, seed=1)
    modules = [
        prepare_training(trained_digits, Quantisation(weights=forms), {}, how) for _ in range(2)
    ]
    first, second = (module._rounded_weight("wide").detach().numpy() for module in modules)
    np.testing.assert_array_equal(first, second)  # equal seeds
    still = modules[0].rounded_weights()["layers.wide.conv.weight"]
    form = modules[0].quantisation().weights["wide"]
    assert isinstance(form, Grid)
    np.testing.assert_array_equal(form.nearest(still), still)
    steps = (first - still) / form.scale[:, None, None, None]
    assert 0.4 < steps.std() < 0.6  # 384 numbers
    modules[0].eval()
    np.testing.assert_array_equal(modules[0]._rounded_weight("wide").detach().numpy(), still)
