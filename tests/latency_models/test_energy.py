from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import INPUT, Layer, Network, Shape
from latency_models import Device, MeasuringFailed, find_energy_reader
from latency_models.energy import (
    EnergyModel,
    estimate_block_mj,
    estimate_mj,
    fit_energy,
    measure_energies,
)
from latency_models.energy_readers import RaplReader


def pointwise(channels: int, pixels: int) -> Network:
    layer = Layer(
        name="c",
        op="conv",
        inputs=(INPUT,),
        block="b",
        in_channels=channels,
        out_channels=channels,
    )
    return Network(
        input_shape=Shape(channels, pixels, pixels),
        num_classes=channels,
        layers=(layer,),
        output="c",
    )


def test_estimate_on_chip_by_hand() -> None:
    macs, moved = 8 * 8 * 16, 2 * 8 * 16 * 4 + 8 * 8 * 4
    assert estimate_mj(pointwise(8, 4)) == pytest.approx((macs * 4.6 + moved * 12.5) * 1e-9)
    batched = (3 * macs * 4.6 + (3 * 2 * 8 * 16 * 4 + 8 * 8 * 4) * 12.5) * 1e-9
    assert estimate_mj(pointwise(8, 4), batch_size=3) == pytest.approx(batched)


def test_estimate_through_dram_by_hand() -> None:
    network = pointwise(64, 64)  # two maps of 1 MiB
    macs, moved = 64 * 64 * 64 * 64, 2 * 64 * 64 * 64 * 4 + 64 * 64 * 4
    assert moved > 1_000_000
    assert estimate_mj(network) == pytest.approx((macs * 4.6 + moved * 162.5) * 1e-9)


def test_estimates_of_blocks_add_up_and_are_never_zero(networks: list[Network]) -> None:
    for network in networks:
        blocks = [estimate_block_mj(block) for block in network.blocks]
        assert min(blocks) > 0
        assert sum(blocks) == pytest.approx(estimate_mj(network))


def test_the_model_without_a_counter_says_estimated_and_how_unsure() -> None:
    cost = EnergyModel().cost(latency_ms=3.0, estimate_mj=0.2)
    assert (cost.value, cost.std, cost.source) == (0.2, pytest.approx(0.1), "estimated")


def test_idle_power_is_not_the_network_s(
    make_machine: Any, make_reader: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(power_w=5.0, idle_w=50.0, noise=0.02)
    costs = measure_energies(
        networks[:4],
        device,
        make_reader(machine),
        load=machine.load,
        clock=machine.clock,
        sleep=machine.sleep,
    )
    for cost, network in zip(costs, networks, strict=False):
        assert cost.value == pytest.approx(5.0 * machine.true_ms(network), rel=0.05)
        assert cost.source == "measured"
        assert cost.std >= 0


def test_an_idle_power_that_moves_is_part_of_the_uncertainty(
    make_machine: Any, make_reader: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(power_w=5.0, idle_w=10.0, noise=0.0)
    idles = iter([10.0, 13.0])  # W, while the device sleeps before and after the network ran

    def sleep(seconds: float) -> None:
        machine.idle_w = next(idles)
        machine.sleep(seconds)
        machine.idle_w = 11.5

    (cost,) = measure_energies(
        networks[:1],
        device,
        make_reader(machine),
        load=machine.load,
        clock=machine.clock,
        sleep=sleep,
    )
    took_ms = machine.true_ms(networks[0])
    assert cost.value == pytest.approx(5.0 * took_ms)
    assert cost.std == pytest.approx(3.0 / np.sqrt(2) * took_ms)


def test_no_more_than_idle_is_a_failure_not_zero(
    make_machine: Any, make_reader: Any, device: Device, networks: list[Network]
) -> None:
    machine = make_machine(power_w=0.0, noise=0.0)
    machine.power_w = -0.001
    with pytest.raises(MeasuringFailed, match="not more than the idle device"):
        measure_energies(
            networks[:1],
            device,
            make_reader(machine),
            load=machine.load,
            clock=machine.clock,
            sleep=machine.sleep,
        )


def test_fit_recovers_power_and_scale() -> None:
    rng = np.random.default_rng(0)
    latencies, estimates = rng.uniform(1, 10, 8), rng.uniform(0.1, 1, 8)
    model = fit_energy(
        "NVML", latencies.tolist(), estimates.tolist(), (7 * latencies + 20 * estimates).tolist()
    )
    assert model.mj_per_ms == pytest.approx(7)
    assert model.estimate_scale == pytest.approx(20)
    assert (model.source, model.reader) == ("predicted", "NVML")
    assert model.relative_std == 0.05  # never surer than that


def test_fit_from_one_network() -> None:
    model = fit_energy("RAPL", [2.0], [0.1], [30.0])
    assert model.value(2.0, 0.1) == pytest.approx(30.0)


def rapl_zone(root: Path, name: str, label: str, energy_uj: int) -> Path:
    zone = root / name
    zone.mkdir()
    (zone / "name").write_text(f"{label}\n")
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text("1000000\n")
    return zone


def test_rapl_adds_packages_and_survives_the_counter_s_wrap(tmp_path: Path) -> None:
    first = rapl_zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = rapl_zone(tmp_path, "intel-rapl:1", "package-1", 0)
    core = rapl_zone(tmp_path, "intel-rapl:0:0", "core", 0)  # part of package-0
    rapl_zone(tmp_path, "intel-rapl:2", "psys", 0)
    reader = RaplReader(tmp_path)
    assert reader.read_mj() == 0
    (first / "energy_uj").write_text("950000")
    (second / "energy_uj").write_text("20000")
    (core / "energy_uj").write_text("40000")
    assert reader.read_mj() == pytest.approx(50 + 20)
    (first / "energy_uj").write_text("10000")  # 50,000 to the end of its range, then 10,000
    assert reader.read_mj() == pytest.approx(70 + 60)


def test_no_counter_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="no RAPL package counter"):
        RaplReader(tmp_path)
    monkeypatch.setattr(RaplReader.__init__, "__defaults__", (tmp_path,))
    assert find_energy_reader("cpu") is None


class FakeNvml:
    """The four calls of pynvml that are used."""

    class NVMLError(Exception):
        pass

    def __init__(self, energy: int | None) -> None:
        self.energy = energy

    def nvmlInit(self) -> None:  # noqa: N802
        if self.energy is None:
            raise self.NVMLError("no driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        assert self.energy is not None
        return self.energy


def test_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(123_000)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml)
    reader = find_energy_reader("cuda")
    assert reader is not None
    assert reader.name == "NVML"
    assert reader.read_mj() == 123_000
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(None))
    assert find_energy_reader("cuda") is None
