"""Limits on latency and energy decide between float32 and INT8, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from archspace import ArchitectureDocument, Network
from child_models import Dataset, TrainingConfig
from compress import (
    CompressionPlan,
    MeasuredCosts,
    PredictedCosts,
    StoredModel,
    compress,
    quantised_files,
)
from compress.joint import JointConfig
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.errors import BudgetUnreachable, QuantisationError
from compress.quantisation.plan import BitPlan
from compress.quantisation.quantise import Quantised, quantise
from compress.trained_model import TrainedModel
from latency_models import Cost, CostModel, Device, PrefixCosts


class Costs:
    """Says what it was told: (float32, INT8)."""

    def __init__(
        self, latency_ms: tuple[float, float], energy_mj: tuple[float, float] = (2.0, 1.0)
    ) -> None:
        self.told = {"ms": latency_ms, "mJ": energy_mj}
        self.asked: list[str] = []

    def _answer(self, unit: str, models: Sequence[TrainedModel]) -> list[float]:
        self.asked.append(unit)
        float32, int8 = models
        assert float32.quantisation is None
        assert int8.quantisation is not None
        assert not int8.quantisation.why_not_int8
        return list(self.told[unit])

    def latencies_ms(self, models: Sequence[TrainedModel]) -> list[float]:
        return self._answer("ms", models)

    def energies_mj(self, models: Sequence[TrainedModel]) -> list[float]:
        return self._answer("mJ", models)


def run(model: TrainedModel, dataset: Dataset, costs: Costs, **config: object) -> Quantised:
    settings = QuantiseConfig.model_validate({"calibration_images": 64, **config})
    return quantise(model, dataset, settings, TrainingConfig(), seed=0, costs=costs)


@pytest.mark.parametrize(
    ("latency_ms", "limits", "expected"),
    [
        ((0.9, 0.5), {"max_latency_ms": 1.0}, "float32"),
        ((1.0, 0.5), {"max_latency_ms": 1.0}, "float32"),
        ((1.1, 0.5), {"max_latency_ms": 1.0}, "int8"),
        ((0.9, 1.5), {"max_latency_ms": 1.0}, "float32"),  # INT8 is the slower one
        ((0.9, 0.5), {"max_energy_mj": 1.5}, "int8"),
        ((0.9, 0.5), {"max_energy_mj": 2.5}, "float32"),
        ((0.9, 0.5), {"max_latency_ms": 1.0, "max_energy_mj": 1.5}, "int8"),
    ],
)
def test_float32_where_it_holds_else_int8(
    trained_digits: TrainedModel,
    digits: Dataset,
    latency_ms: tuple[float, float],
    limits: dict[str, float],
    expected: str,
) -> None:
    costs = Costs(latency_ms)
    result = run(trained_digits, digits, costs, **limits)
    assert result.execution == expected
    assert {layer.bits for layer in result.layers} == {8}  # stored in either
    latencies = [cost.latency_ms for cost in result.execution_costs]
    energies = [cost.energy_mj for cost in result.execution_costs]
    assert [cost.execution for cost in result.execution_costs] == ["float32", "int8"]
    assert latencies == (list(latency_ms) if "max_latency_ms" in limits else [None, None])
    assert energies == ([2.0, 1.0] if "max_energy_mj" in limits else [None, None])
    units = {"max_latency_ms": "ms", "max_energy_mj": "mJ"}
    assert costs.asked == [units[limit] for limit in limits]


def test_what_int8_gives_is_what_there_is_without_the_limit(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    limited = run(trained_digits, digits, Costs((2.0, 0.5)), max_latency_ms=1.0).model
    free = run(trained_digits, digits, Costs((0.0, 0.0))).model
    assert limited.quantisation is not None
    assert free.quantisation is not None
    assert limited.quantisation.to_json() == free.quantisation.to_json()
    for name, values in free.weights.items():
        np.testing.assert_array_equal(values, limited.weights[name])


def test_out_of_reach_says_what_both_cost(trained_digits: TrainedModel, digits: Dataset) -> None:
    message = "at most 0.4 ms a call, but float32 takes 0.9 ms, int8 takes 0.5 ms"
    with pytest.raises(BudgetUnreachable, match=message):
        run(trained_digits, digits, Costs((0.9, 0.5)), max_latency_ms=0.4)
    # each holds one limit, neither holds both
    message = (
        "1 ms and 1.5 mJ a call, but float32 takes 0.9 ms and 2 mJ, int8 takes 1.2 ms and 1 mJ"
    )
    with pytest.raises(BudgetUnreachable, match=message):
        run(trained_digits, digits, Costs((0.9, 1.2)), max_latency_ms=1.0, max_energy_mj=1.5)


@pytest.mark.parametrize("float32_ms", [0.5, 2.0], ids=["float32", "int8"])
def test_size_has_its_own_limit_in_both(
    trained_digits: TrainedModel, digits: Dataset, float32_ms: float
) -> None:
    costs = Costs((float32_ms, 0.5))
    whole = run(trained_digits, digits, costs, max_latency_ms=1.0)
    limit = whole.size_bytes - 500
    small = run(trained_digits, digits, costs, max_latency_ms=1.0, max_size_bytes=limit)
    assert small.execution == whole.execution == ("float32" if float32_ms < 1 else "int8")
    assert small.size_bytes <= limit < whole.size_bytes
    with pytest.raises(BudgetUnreachable, match="with the fewest bits everywhere"):
        run(trained_digits, digits, costs, max_latency_ms=1.0, max_size_bytes=100)


def test_thirty_two_bits_stay_where_float32_holds_and_are_eight_in_int8(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    wide = {"weight_bits": {"pointwise": 4, "conv": 32, "first": 32}, "max_latency_ms": 1.0}
    int8 = run(trained_digits, digits, Costs((2.0, 0.5)), **wide)
    assert int8.execution == "int8"
    assert {layer.name: layer.bits for layer in int8.layers}["stem"] == 8
    assert {layer.name: layer.bits for layer in int8.layers}["point"] == 4
    same = run(
        trained_digits,
        digits,
        Costs((0.5, 0.5)),
        mode="qat",  # trains nothing where nothing is rounded
        weight_bits=32,
        max_latency_ms=1.0,
    )
    assert same.execution == "float32"
    assert same.model.quantisation is None
    assert same.size_bytes == same.size_before_bytes
    assert same.accuracy_after == same.accuracy_before
    assert quantised_files(same.model) == {}
    for name, values in trained_digits.weights.items():
        np.testing.assert_array_equal(values, same.model.weights[name])


def test_a_plan_that_is_capped_keeps_what_is_below() -> None:
    plan = BitPlan(depthwise=32, pointwise=4, grouped=8, conv=3, linear=32, first=None, last=32)
    assert plan.at_most(8) == BitPlan(
        depthwise=8, pointwise=4, grouped=8, conv=3, linear=8, first=None, last=8
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "weights"},
        {"map_bits": 4},
        {"symmetric": False},
        {"mode": "codebook"},
    ],
)
@pytest.mark.parametrize("limit", ["max_latency_ms", "max_energy_mj"])
def test_limits_that_nothing_could_be_done_for_are_refused(
    fields: dict[str, object], limit: str
) -> None:
    with pytest.raises(ValidationError, match="nothing but INT8 changes what a call costs"):
        QuantiseConfig.model_validate({limit: 1.0, **fields})
    with pytest.raises(ValidationError, match="greater than 0"):
        QuantiseConfig.model_validate({limit: 0})


def test_where_channels_go_or_bits_are_given_there_is_no_such_limit(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    limited = QuantiseConfig(mode="qat", max_latency_ms=1.0)
    with pytest.raises(ValidationError, match="loses no more channels"):
        JointConfig(quantisation=limited)
    with pytest.raises(QuantisationError, match="bits: limits on latency and energy decide"):
        quantise(
            trained_digits,
            digits,
            limited,
            TrainingConfig(),
            seed=0,
            bits={"stem": 8},
            costs=Costs((1, 1)),
        )


class Known(CostModel):
    """8-bit networks take half."""

    version = 0
    latency_margin = 0.0
    additive_overhead_ms = 0.0

    def predict(self, networks: Sequence[Network]) -> list[PrefixCosts]:
        values = [1.0 if network.is_int8 else 2.0 for network in networks]
        costs = [Cost(value, 0.1, "predicted") for value in values]
        first = Cost(0.1, 0.0, "predicted")
        return [PrefixCosts((first, cost), (first, cost)) for cost in costs]

    def block_latency_ms(self, block: object) -> float:
        return 0.0

    def block_energy_mj(self, block: object) -> float:
        return 0.0


def test_a_cost_model_is_asked_about_whole_networks(
    trained_digits: TrainedModel, digits: Dataset
) -> None:
    config = QuantiseConfig(max_latency_ms=1.5, max_energy_mj=1.5, calibration_images=64)
    costs = PredictedCosts(Known())
    result = quantise(trained_digits, digits, config, TrainingConfig(), seed=0, costs=costs)
    assert result.execution == "int8"
    assert [cost.latency_ms for cost in result.execution_costs] == [2.0, 1.0]
    assert [cost.energy_mj for cost in result.execution_costs] == [2.0, 1.0]


@pytest.mark.slow
def test_a_plan_measures_on_the_device(
    trained_digits: TrainedModel, digits: Dataset, tmp_path: Path
) -> None:
    document = ArchitectureDocument(
        digest=trained_digits.network.digest,
        label="by hand",
        network=trained_digits.network,
        class_names=digits.class_names,
        normalization=digits.normalization,
    )
    stored = StoredModel(model=trained_digits, document=document)
    device = Device.here()

    def done(**limits: float) -> dict[str, object]:
        plan = CompressionPlan.model_validate(
            {"steps": [{"step": "quantise", "quantisation": limits}]}
        )
        return compress(stored, digits, plan, tmp_path / "steps", device=device).steps[0].details

    wide = done(max_latency_ms=1000.0, max_energy_mj=1000.0)
    assert wide["execution"] == "float32"
    costs = wide["execution_costs"]
    assert [cost["execution"] for cost in costs] == ["float32", "int8"]  # type: ignore[index]
    assert all(0 < cost["latency_ms"] < 10 and cost["energy_mj"] > 0 for cost in costs)  # type: ignore[index]
    # the estimate counts less for INT8 on every machine without a counter
    int8 = quantise(trained_digits, digits, QuantiseConfig(), TrainingConfig(), seed=0).model
    float32_mj, int8_mj = MeasuredCosts(device).energies_mj([trained_digits, int8])
    assert int8_mj < float32_mj
    assert done(max_energy_mj=(float32_mj + int8_mj) / 2)["execution"] == "int8"
    with pytest.raises(
        BudgetUnreachable, match=r"at most 1e-06 ms a call, but float32 takes 0\.\d+"
    ):
        done(max_latency_ms=1e-6)
