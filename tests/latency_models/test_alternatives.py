"""The benchmark `benchmarks/profiling.py`: other ways to predict, and how they are judged."""

import importlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from archspace import Shape, StageConfig, StagedSpace, StagedSpaceConfig
from latency_models import (
    Device,
    DeviceConfig,
    MeasuringFailed,
    ProfileConfig,
    profile_device,
    reference_network,
)
from latency_models.additive import AdditiveTable
from latency_models.features import block_digest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
QUICK = ProfileConfig(num_networks=20, num_held_out=8, num_blocks=40, rounds=2, repeats=1)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    names = ("profiling", "profiling_alternatives", "profiling_cell", "profiling_records")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield {name: importlib.import_module(name) for name in names}


@pytest.fixture
def alternatives(scripts: dict[str, ModuleType]) -> Any:
    return scripts["profiling_alternatives"]


@pytest.fixture(scope="module")
def small_space() -> StagedSpace:
    """A few hundred networks, so that two streams of draws meet often."""
    config = StagedSpaceConfig(
        stem_channels=8,
        stages=(StageConfig(channels=16, layers=2), StageConfig(channels=16, layers=1, stride=2)),
        operations=("dwconv_k3", "conv_k1"),
        keep_ratios=(0.5, 1.0),
    )
    return StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)


def plan_of(scripts: dict[str, ModuleType], space: StagedSpace, **changes: Any) -> Any:
    fields = {
        "space": space.digest,
        "size": 8,
        "device": DeviceConfig(),
        "profile": QUICK,
        "budget_s": 20.0,
        "scales": (0.5, 1.0),
        "num_test": 16,
        "alternatives": False,
    }
    return scripts["profiling_records"].Plan(**{**fields, **changes})


def test_a_line_is_found_again(alternatives: Any) -> None:
    sizes = np.array([1e6, 2e6, 5e6, 9e6])
    line = alternatives.fit_line(sizes, 3e-7 * sizes + 0.2)
    assert line.slope == pytest.approx(3e-7)
    assert line.intercept == pytest.approx(0.2)
    assert line(np.array([4e6])) == pytest.approx([1.4])


def test_larger_networks_are_never_predicted_to_be_faster(alternatives: Any) -> None:
    latencies = np.array([4.0, 2.0, 1.0])
    line = alternatives.fit_line(np.array([1.0, 2.0, 3.0]), latencies)
    assert line.slope == pytest.approx(0.0, abs=1e-9)
    # argmin_b of the sum of ((b - y) / y)²
    assert line.intercept == pytest.approx((1 / latencies).sum() / (1 / latencies**2).sum())


def test_lookup_is_a_call_and_the_blocks_alone(alternatives: Any, space: StagedSpace) -> None:
    network = space.resolve(space.sample(np.random.default_rng(1)))
    costs = {block_digest(b): 0.5 + i for i, b in enumerate(network.blocks)}
    table = AdditiveTable(call_ms=0.25, blocks_ms=costs, weights={}, kinds=(), relative_std=0.1)
    expected = 0.25 + sum(costs[block_digest(b)] for b in network.blocks)
    assert alternatives.lookup_ms(table, [network]) == pytest.approx([expected])


def test_mlp_learns_what_choices_cost(alternatives: Any) -> None:
    rng = np.random.default_rng(0)
    choices = rng.integers(0, 3, (200, 4))
    codes = np.eye(3, dtype=np.float32)[choices].reshape(200, -1)
    latencies = 1 + codes @ rng.uniform(0, 1, 12)
    state = torch.get_rng_state()
    mlp = alternatives.Mlp(codes[:150], latencies[:150], restarts=1)
    assert torch.equal(torch.get_rng_state(), state)
    errors = np.abs(mlp(codes[150:]) / latencies[150:] - 1)
    spread = np.abs(latencies[:150].mean() / latencies[150:] - 1)
    assert errors.mean() < 0.02 < 0.1 < spread.mean()


def test_judged_on_the_smaller_measurement(scripts: dict[str, ModuleType]) -> None:
    predicted = scripts["profiling_alternatives"].Predicted(
        np.array([1.0, 2.2, 3.0, 4.0]), np.array([0.01, 0.1, 0.2, 1.0])
    )
    first, second = [1.0, 3.0, 2.5, 5.0], [1.2, 2.0, 2.5, 5.5]  # smaller ones: 1, 2, 2.5, 5
    judged = scripts["profiling_records"].judge(predicted, first, second)
    assert judged.mape == pytest.approx((0 + 0.1 + 0.2 + 0.2) / 4)
    assert judged.within_5 == 0.25
    assert judged.noise_mape == pytest.approx((0.2 + 1 / 3 + 0 + 0.1) / 4)
    assert judged.noise_within_5 == 0.25
    assert judged.spearman == 1.0
    assert judged.noise_spearman == pytest.approx(0.8)  # first ranks 1 3 2 4, second 1 2 3 4
    assert judged.coverage == 0.5  # off by 0 of 0.016, 0.2 of 0.16, 0.5 of 0.33, 1 of 1.6


def test_test_networks_are_in_no_profile(
    scripts: dict[str, ModuleType], small_space: StagedSpace, make_machine: Any
) -> None:
    cell = scripts["profiling_cell"]
    plan = plan_of(scripts, small_space, profile=QUICK.with_budget(20))
    profiles = [plan.scaled(scale) for scale in plan.scales]
    test = {draw.network.digest for draw in cell.draw_test(small_space, profiles, 40)}
    assert len(test) == 40
    machine = make_machine(noise=0.0)
    for profile in profiles:
        profile_device(
            small_space,
            None,
            profile,
            seed=cell.PROFILE_SEED,
            load=machine.load,
            clock=machine.clock,
            sleep=machine.sleep,
            find_reader=lambda accelerator: None,
        )
    assert not test & set(machine.loaded)
    other = scripts["profiling_alternatives"].draw_distinct(
        small_space, np.random.default_rng(cell.TEST_SEED), frozenset()
    )
    careless = {draw.network.digest for draw in islice(other, 40)}
    assert careless & set(machine.loaded), "the space is too large for this test to fail"


def test_too_small_a_space_has_no_test_networks(
    scripts: dict[str, ModuleType], small_space: StagedSpace
) -> None:
    config = small_space.config.model_copy(update={"stages": small_space.config.stages[:1]})
    tiny = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    with pytest.raises(ValueError, match="set --test lower"):
        scripts["profiling_cell"].draw_test(tiny, [QUICK], 64)


def test_training_networks_take_the_time_given(
    alternatives: Any, small_space: StagedSpace, device: Device, make_machine: Any
) -> None:
    endless = alternatives.draw_distinct(small_space, np.random.default_rng(0), frozenset())
    draws = list(islice(endless, 100))
    assert len({draw.network.digest for draw in draws}) == len(draws)
    avoided = draws[0].network.digest
    rest = alternatives.draw_distinct(small_space, np.random.default_rng(0), frozenset([avoided]))
    broken = draws[1].network.digest
    machine = make_machine(noise=0.0, broken={broken})
    references = [reference_network(), draws[2].network]

    def measure(draws: Any, seconds: float) -> Any:
        return alternatives.measure_training(
            draws, device, QUICK, seconds=seconds, references=references, reference_ms=2.0, seed=0,
            load=machine.load, clock=machine.clock,
        )  # fmt: skip

    training = measure(rest, 1.0)
    digests = {draw.network.digest for draw in training.draws}
    assert not {avoided, broken} & digests
    group_s = training.seconds / (len(training.draws) + 1) * 16  # the broken one took no time
    assert 1.0 <= training.seconds < 1.0 + 2 * group_s
    reference_ms = np.exp(np.mean(np.log([machine.true_ms(n) for n in references])))
    true_ms = [machine.true_ms(draw.network) * 2.0 / reference_ms for draw in training.draws]
    assert training.measured_ms == pytest.approx(true_ms)
    with pytest.raises(MeasuringFailed, match="at least 8 training networks, 3 could"):
        measure(iter(training.draws[:3]), 1.0)


def test_what_is_not_there_becomes_a_row(
    scripts: dict[str, ModuleType], small_space: StagedSpace, tmp_path: Path
) -> None:
    plan = plan_of(scripts, small_space, device=DeviceConfig(threads=1024))
    cell = scripts["profiling_cell"].measure_cell(plan, small_space, [], lambda what: None)
    assert [(row.scale, row.budget_s, row.judged) for row in cell.rows] == [
        (0.5, 10.0, None),
        (1.0, 20.0, None),
    ]
    assert all("DeviceUnavailable: device.threads: 1024" in row.failure for row in cell.rows)


def test_cells_are_read_again_but_not_those_of_another_plan(
    scripts: dict[str, ModuleType], small_space: StagedSpace, tmp_path: Path
) -> None:
    records, profiling = scripts["profiling_records"], scripts["profiling"]
    plan = plan_of(scripts, small_space)
    assert profiling.read_cell(tmp_path, plan) is None
    row = records.Row(method="profile", scale=1.0, budget_s=20.0, judged=judgement(records, 0.9))
    cell = records.Cell(plan=plan, device=Device.here(), test=("a",), rows=(row,))
    path = profiling.cell_path(tmp_path, plan)
    path.write_text(cell.model_dump_json())
    assert profiling.read_cell(tmp_path, plan) == cell
    with pytest.raises(SystemExit, match="other options"):
        profiling.read_cell(tmp_path, plan_of(scripts, small_space, budget_s=21.0))
    path.write_text("{}")
    with pytest.raises(SystemExit, match="expected a cell"):
        profiling.read_cell(tmp_path, plan)


def judgement(records: Any, spearman: float) -> Any:
    figures = dict.fromkeys(records.Judgement.model_fields, 0.9)
    return records.Judgement(**{**figures, "spearman": spearman, "within_10": 0.8})


def test_summary_counts_failed_cells_as_missed(scripts: dict[str, ModuleType]) -> None:
    records = scripts["profiling_records"]
    rows = [
        records.Row(method="profile", scale=1.0, budget_s=20.0, judged=judgement(records, spearman))
        for spearman in (0.98, 0.96, 0.97)
    ]
    rows.append(records.Row(method="profile", scale=1.0, budget_s=20.0, failure="refused"))
    rows.append(records.Row(method="profile", scale=0.5, budget_s=10.0, failure="refused"))
    full, half = scripts["profiling"].summary(rows)
    assert full[:5] == ["profile", "20", "2/4", "0/4", "3/4"]
    assert full[5] == "0.970"
    assert half[:5] == ["profile", "10", "0/1", "0/1", "0/1"]
    assert half[5] == "–"
