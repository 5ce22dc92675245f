import gc
from typing import Any

import numpy as np
import pytest

from archspace import Network
from latency_models import (
    Device,
    DeviceConfig,
    MeasuringFailed,
    measure_networks,
    reference_network,
)
from latency_models.measuring import _compared, measure_each
from latency_models.polish import median_polish
from latency_models.runners import load_runner


def test_recovers_true_latencies_in_order(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(noise=0.0)
    measured = measure_networks(networks, device, load=machine.load, clock=machine.clock)
    expected = [machine.true_ms(network) for network in networks]
    np.testing.assert_allclose([m.latency.value for m in measured], expected, rtol=1e-9)
    assert all(m.latency.source == "measured" and m.rounds == 9 for m in measured)


def test_a_machine_that_slows_down_gives_the_same_ratios(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(noise=0.0, slowdown=0.3)
    measured = measure_networks(
        networks,
        device,
        reference_ms=machine.true_ms(reference_network()),
        load=machine.load,
        clock=machine.clock,
    )
    assert 1 + machine.slowdown * machine.now > 2  # times as slow at the end
    expected = [machine.true_ms(network) for network in networks]
    np.testing.assert_allclose([m.latency.value for m in measured], expected, rtol=0.02)


def test_rounds_in_which_something_else_ran_are_thrown_away() -> None:
    reference = np.array([1.0, 1.0, 1.6, 1.0, 3.0, 1.0, 1.01, 0.99])
    network = 2.0 * np.array([1, 1, 1.1, 1, 2, 1, 1.01, 0.99])
    seconds = np.stack([reference, network], axis=1)[:, None, :].repeat(3, axis=1)
    (rounds,) = _compared(seconds, 1)
    measurement = rounds.measurement(reference_ms=4.0)
    assert (measurement.rounds, measurement.discarded) == (6, 2)
    assert measurement.latency.value == pytest.approx(8.0)
    assert measurement.latency.std == pytest.approx(0, abs=1e-12)


def test_where_nothing_is_steady_all_rounds_count() -> None:
    reference = np.array([1.0, 2.0, 4.0, 8.0])
    seconds = np.stack([reference, 2 * reference], axis=1)[:, None, :]
    (rounds,) = _compared(seconds, 1)
    assert rounds.measurement(1.0).discarded == 0
    assert len(rounds.reference_s) == 4
    assert rounds.ratio == pytest.approx(2.0)


def test_a_machine_that_flips_between_two_speeds_changes_no_ratio() -> None:
    rng = np.random.default_rng(0)
    true = np.array([1.0, 0.5, 2.0, 3.0, 1.5, 0.7])
    fast, noise = rng.random((9, 5, 1)) < 0.5, rng.normal(1, 0.01, (9, 5, 6))
    ratios = [r.ratio for r in _compared(true * np.where(fast, 1.0, 1.4) * noise, 1)]
    assert ratios == pytest.approx(true[1:], rel=0.01)


def test_several_references_share_out_what_disturbs_one_of_them() -> None:
    """Between two groups the small reference alone is slowed: one of four, so the ratios change by a fourth of it."""
    small, others, networks = [0.1], [1.0, 2.0, 4.0], [1.5, 3.0]
    seconds = np.tile([*small, *others, *networks], (4, 3, 1))
    disturbed = seconds * np.array([1.2, 1, 1, 1, 1, 1])
    changes = [
        after.ratio / before.ratio
        for before, after in zip(_compared(seconds, 4), _compared(disturbed, 4), strict=True)
    ]
    assert changes == pytest.approx([1.2**-0.25] * 2)
    (alone, *_) = _compared(seconds, 1)
    (alone_disturbed, *_) = _compared(disturbed, 1)
    assert alone_disturbed.ratio / alone.ratio == pytest.approx(1 / 1.2)


def test_times_beside_several_references_are_true_where_the_machine_is_steady(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(noise=0.0)
    references = [reference_network(), *networks[-3:]]
    measured = measure_networks(
        networks[:4], device, references=references, load=machine.load, clock=machine.clock
    )
    expected = [machine.true_ms(network) for network in networks[:4]]
    np.testing.assert_allclose([m.latency.value for m in measured], expected, rtol=1e-9)
    reference_ms = np.exp(np.mean(np.log([machine.true_ms(n) for n in references])))
    assert [m.reference_ms for m in measured] == pytest.approx([reference_ms] * 4)


def test_no_reference_is_refused(device: Device, networks: list[Network]) -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        measure_networks(networks, device, references=[])


def test_polish_takes_a_table_apart() -> None:
    levels, speeds = np.array([1.0, 2.0, 4.0]), np.array([-0.5, 0.0, 0.0, 0.3, 1.0])
    table = speeds[:, None] + levels
    table[3, 1] += 50  # one disturbed time
    found = median_polish(table)
    assert found[0] == pytest.approx(levels)
    assert found[1] == pytest.approx(speeds)


def test_spread_grows_with_noise(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    spreads = []
    for noise in (0.0, 0.02, 0.2):
        machine = make_machine(noise=noise)
        measured = measure_networks(
            networks[:10], device, repeats=1, load=machine.load, clock=machine.clock
        )
        spreads.append(np.mean([m.latency.std / m.latency.value for m in measured]))
    assert spreads[0] == pytest.approx(0, abs=1e-9)
    assert 0 < spreads[1] < spreads[2]


def test_at_reference_scales_value_and_std(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine()
    (one,) = measure_networks(networks[:1], device, load=machine.load, clock=machine.clock)
    twice = one.at_reference(2 * one.reference_ms)
    assert twice.latency.value == pytest.approx(2 * one.latency.value)
    assert twice.latency.std == pytest.approx(2 * one.latency.std)
    assert twice.at_reference(one.reference_ms).latency.value == pytest.approx(one.latency.value)


def test_a_network_that_fails_is_named_and_the_others_are_measured(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(broken={networks[2].digest})
    results = measure_each(networks[:5], device, load=machine.load, clock=machine.clock)
    assert isinstance(results[2], MeasuringFailed)
    for i in (0, 1, 3, 4):
        result = results[i]
        assert not isinstance(result, MeasuringFailed)
        assert result.latency.value == pytest.approx(machine.true_ms(networks[i]), rel=0.05)
    with pytest.raises(MeasuringFailed, match=networks[2].digest):
        measure_networks(networks[:5], device, load=machine.load, clock=machine.clock)


def test_a_clock_that_stands_still_is_no_cost_of_zero(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine()
    with pytest.raises(MeasuringFailed, match="clock"):
        measure_networks(networks[:2], device, load=machine.load, clock=lambda: 0.0)


@pytest.mark.parametrize(("rounds", "repeats"), [(1, 5), (9, 0)])
def test_refuses_too_few_rounds(
    rounds: int, repeats: int, device: Device, networks: list[Network]
) -> None:
    with pytest.raises(ValueError, match="rounds ≥ 2"):
        measure_networks(networks, device, rounds=rounds, repeats=repeats)


def test_garbage_collection_is_off_while_timing_and_on_after(
    make_machine: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine()
    seen = []

    def clock() -> float:
        seen.append(gc.isenabled())
        return float(machine.now)

    assert gc.isenabled()
    measure_networks(networks[:2], device, load=machine.load, clock=clock)
    assert not any(seen)
    assert gc.isenabled()


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_runs_on_this_machine(runtime: str, networks: list[Network]) -> None:
    import torch

    device = Device.here(DeviceConfig(runtime=runtime, batch_size=2))  # type: ignore[arg-type]
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    exits = next(n for n in networks if n.exits)
    measured = measure_networks([exits, networks[0].blocks[1].as_network()], device, rounds=2)
    assert all(0.001 < m.latency.value < 1000 for m in measured)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_cannot_be_built_is_a_failure(device: Device) -> None:
    network = reference_network()
    broken = Network(
        input_shape=network.input_shape,
        num_classes=10,
        layers=network.layers[1:],
        output="logits",
    )
    with pytest.raises(MeasuringFailed, match=broken.digest):
        load_runner(broken, device)
