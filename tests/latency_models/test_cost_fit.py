from typing import Any

import numpy as np
import pytest

from archspace import INPUT, Block, Layer, Network, Shape, StagedSpace
from latency_models import Cost, DeviceFileError, ProfiledCostModel
from latency_models.additive import AdditiveTable, fit_additive
from latency_models.calibration import (
    conformal_quantile,
    interval_90,
    interval_scale,
    latency_margin,
)
from latency_models.correction import fit_correction
from latency_models.energy import EnergyModel
from latency_models.features import block_digest
from latency_models.sampling import call_network


def distinct_blocks(networks: list[Network]) -> list[Block]:
    return list({b.signature: b for n in networks for b in n.blocks}.values())


def table_of(machine: Any, blocks: list[Block]) -> AdditiveTable:
    return fit_additive(
        blocks,
        [machine.true_ms(block.as_network()) for block in blocks],
        machine.true_ms(call_network()),
    )


@pytest.fixture
def machine(make_machine: Any) -> Any:
    return make_machine(noise=0.0)


def fit(machine: Any, networks: list[Network], blocks: list[Block]) -> ProfiledCostModel:
    table = table_of(machine, blocks)
    times = [machine.true_ms(network) for network in networks]
    correction = fit_correction(table, networks, times, [0.0] * len(times))
    return ProfiledCostModel(table, correction, EnergyModel())


def test_lone_blocks_are_what_they_cost_beyond_a_call(
    machine: Any, networks: list[Network]
) -> None:
    blocks = distinct_blocks(networks)
    table = table_of(machine, blocks)
    call_ms = machine.true_ms(call_network())
    for block in blocks:
        lone_ms, measured = table.lone_ms(block)
        assert measured
        assert lone_ms == pytest.approx(machine.true_ms(block.as_network()) - call_ms, abs=1e-9)


def test_regression_predicts_blocks_that_were_not_measured(
    make_machine: Any, networks: list[Network]
) -> None:
    machine = make_machine(noise=0.0, quirk=0.0)
    blocks = distinct_blocks(networks)
    table = table_of(machine, blocks[::2])
    for block in blocks[1::2]:
        lone_ms, measured = table.lone_ms(block)
        assert not measured
        alone_ms = machine.true_ms(block.as_network())
        assert lone_ms + table.call_ms == pytest.approx(alone_ms, rel=0.15)


def test_many_choices_cost_what_their_networks_cost(
    machine: Any, space: StagedSpace, networks: list[Network]
) -> None:
    model = fit(machine, networks, distinct_blocks(networks)[::2])  # some blocks are regressed
    rng = np.random.default_rng(9)
    choices = [space.sample(rng) for _ in range(30)]
    batch = model.predict_choices(space, np.array(choices))
    single = model.predict([space.resolve(row) for row in choices])
    for i, costs in enumerate(single):
        latency, energy = costs.latency_ms[-1], costs.energy_mj[-1]
        assert batch.latency_ms[i] == pytest.approx(latency.value)
        assert batch.latency_std_ms[i] == pytest.approx(latency.std)
        assert batch.energy_mj[i] == pytest.approx(energy.value)
        assert batch.energy_std_mj[i] == pytest.approx(energy.std)


def test_exact_where_costs_add_up(make_machine: Any, networks: list[Network]) -> None:
    machine = make_machine(noise=0.0, interaction=0.0)
    model = fit(machine, networks, distinct_blocks(networks))
    for costs, network in zip(model.predict(networks), networks, strict=True):
        assert costs.latency_ms[-1].value == pytest.approx(machine.true_ms(network), rel=5e-3)


def test_correction_learns_what_neighbours_save(make_machine: Any, space: StagedSpace) -> None:
    machine = make_machine(noise=0.0, interaction=0.7)
    rng = np.random.default_rng(0)
    networks = [space.resolve(space.sample(rng)) for _ in range(200)]
    known, unseen = networks[:140], networks[140:]
    blocks = distinct_blocks(networks)
    table = table_of(machine, blocks)
    model = fit(machine, known, blocks)
    truth = np.array([machine.true_ms(n) for n in unseen])
    corrected = np.array([c.latency_ms[-1].value for c in model.predict(unseen)])
    summed = np.array([table.call_ms + sum(table.lone_ms(b)[0] for b in n.blocks) for n in unseen])
    error, error_alone = np.mean(abs(corrected / truth - 1)), np.mean(abs(summed / truth - 1))
    assert error_alone > 0.1
    assert error < error_alone / 3


def test_prediction_is_overhead_plus_blocks(machine: Any, networks: list[Network]) -> None:
    model = fit(machine, networks, distinct_blocks(networks))
    for network, costs in zip(networks, model.predict(networks), strict=True):
        blocks_ms = [model.block_latency_ms(block) for block in network.blocks]
        assert min(blocks_ms) > 0
        assert costs.latency_ms[-1].value == pytest.approx(
            model.additive_overhead_ms + sum(blocks_ms)
        )
        assert costs.energy_mj[-1].value == pytest.approx(
            sum(model.block_energy_mj(block) for block in network.blocks)
        )


def test_prefixes_cost_less_and_every_cost_has_a_source(
    machine: Any, networks: list[Network]
) -> None:
    model = fit(machine, networks, distinct_blocks(networks))
    for network, costs in zip(networks, model.predict(networks), strict=True):
        assert len(costs.latency_ms) == len(costs.energy_mj) == len(network.heads)
        for values in costs:
            assert [c.value for c in values] == sorted({c.value for c in values})
            assert all(c.value > 0 and c.std > 0 for c in values)
        assert {c.source for c in costs.latency_ms} == {"predicted"}
        assert {c.source for c in costs.energy_mj} == {"estimated"}


def test_blocks_not_measured_widen_the_interval(machine: Any, networks: list[Network]) -> None:
    blocks = distinct_blocks(networks)
    full = fit(machine, networks, blocks)
    partial = fit(machine, networks, blocks[::3])
    relative = [
        np.mean([c.latency_ms[-1].std / c.latency_ms[-1].value for c in model.predict(networks)])
        for model in (full, partial)
    ]
    assert relative[1] > relative[0]


def test_few_networks_fall_back_to_blocks_alone(make_machine: Any, space: StagedSpace) -> None:
    machine = make_machine(noise=0.0, interaction=0.0)
    rng = np.random.default_rng(1)
    networks = [space.resolve(space.sample(rng)) for _ in range(60)]
    model = fit(machine, networks[:5], distinct_blocks(networks))
    for network, costs in zip(networks, model.predict(networks), strict=True):
        assert costs.latency_ms[-1].value == pytest.approx(machine.true_ms(network), rel=0.1)


def test_a_kind_of_layer_never_measured_is_refused(machine: Any, networks: list[Network]) -> None:
    model = fit(machine, networks, distinct_blocks(networks))
    pool = Layer(
        name="p", op="avg_pool", inputs=(INPUT,), block="b", in_channels=8, out_channels=8, kernel=2
    )
    block = Block(name="b", layers=(pool,), input_shape=Shape(8, 4, 4))
    with pytest.raises(DeviceFileError, match="nothing like avg_pool was measured"):
        model.block_latency_ms(block)


def test_deviations_are_small_and_by_digest(machine: Any, networks: list[Network]) -> None:
    table = table_of(machine, distinct_blocks(networks))
    times = [machine.true_ms(network) for network in networks]
    correction = fit_correction(table, networks, times, [0.0] * len(times))
    digests = {block_digest(b) for b in distinct_blocks(networks)}
    assert set(correction.deviations) == digests
    assert max(abs(d) for d in correction.deviations.values()) < 0.3


def test_conformal_quantile_is_the_rank_of_the_source() -> None:
    scores = np.arange(1.0, 20.0)  # 19 scores: rank ⌈20 · 0.9⌉ = 18
    assert conformal_quantile(scores[::-1], 0.9) == 18
    assert conformal_quantile(scores[:4], 0.9) == 4  # too few: the largest


def test_intervals_cover_and_widen() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 2, 4000)
    # errors are three times as large as the stated standard deviations
    predicted = [
        Cost(y * (1 + 0.03 * e), 0.01 * y, "predicted")
        for y, e in zip(truth, rng.standard_normal(4000), strict=True)
    ]
    scale = interval_scale(predicted[:200], truth[:200].tolist(), widened=False)
    assert scale == pytest.approx(3, rel=0.2)
    covered = [
        abs(c.value - y) <= 1.645 * scale * c.std
        for c, y in zip(predicted[200:], truth[200:], strict=True)
    ]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.04)
    widened = interval_scale(predicted[:200], truth[:200].tolist(), widened=True)
    assert widened == pytest.approx(1.5 * scale)


def test_an_interval_is_1_645_deviations_and_never_negative() -> None:
    assert interval_90(Cost(10.0, 2.0, "predicted")) == pytest.approx((6.71, 13.29))
    assert interval_90(Cost(1.0, 2.0, "predicted")) == pytest.approx((0.0, 4.29))


def test_margin_covers_95_per_cent_and_is_never_negative() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 2, 4000)
    predicted = [
        Cost(y / f, 0.1, "predicted") for y, f in zip(truth, rng.normal(1, 0.1, 4000), strict=True)
    ]
    margin = latency_margin(predicted[:400], truth[:400].tolist())
    held = [y <= c.value * (1 + margin) for c, y in zip(predicted[400:], truth[400:], strict=True)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)
    assert latency_margin([Cost(10.0, 1.0, "predicted")], [1.0]) == 0.0


def test_updating_learns_a_slower_machine_and_single_blocks(
    make_machine: Any, networks: list[Network]
) -> None:
    machine = make_machine(noise=0.0, interaction=0.0)
    blocks = distinct_blocks(networks)
    model = fit(machine, networks[:30], blocks)
    few = networks[:6]
    slower = [Cost(1.15 * machine.true_ms(network), 0.0, "measured") for network in few]
    updated = model.updated(few, slower, 2)
    assert (model.version, updated.version) == (1, 2)
    for network in networks[30:]:
        ratio = updated.predict([network])[0].latency_ms[-1].value / machine.true_ms(network)
        assert ratio == pytest.approx(1.15, abs=0.02)

    slow = max(few[0].blocks, key=lambda b: machine.true_ms(b.as_network()))
    having = [n for n in networks if slow.signature in {b.signature for b in n.blocks}]
    extra = 0.1 * model.block_latency_ms(slow)
    costs = model.predict(networks)
    now = [
        Cost(c.latency_ms[-1].value + (extra if n in having else 0.0), 0.0, "measured")
        for c, n in zip(costs, networks, strict=True)
    ]
    learned = model.updated(networks, now, 2)
    gained = learned.block_latency_ms(slow) - model.block_latency_ms(slow)
    others = [b for b in blocks if b.signature != slow.signature]
    changed = [learned.block_latency_ms(b) / model.block_latency_ms(b) - 1 for b in others]
    assert gained > 0.25 * extra  # the prior holds it back
    assert abs(np.median(changed)) < 0.01


def test_updating_from_what_was_predicted_changes_nothing(
    machine: Any, networks: list[Network]
) -> None:
    model = fit(machine, networks, distinct_blocks(networks))
    as_predicted = [costs.latency_ms[-1] for costs in model.predict(networks[:5])]
    updated = model.updated(networks[:5], as_predicted, 2)
    for before, after in zip(model.predict(networks), updated.predict(networks), strict=True):
        assert after.latency_ms[-1].value == pytest.approx(before.latency_ms[-1].value)
