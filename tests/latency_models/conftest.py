"""A machine made of formulas: its clock moves only when a network runs on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import count_macs, layer_counts
from latency_models import Device, EnergyReader, MeasuringFailed
from latency_models.features import block_digest
from latency_models.runners import Runner


@dataclass
class FakeMachine:
    """Latency = call + Σ blocks (MACs, bytes, layers) − what neighbouring blocks save, times noise and drift.

    `quirk` is how much each block deviates from the formula (a fixed random factor). `slowdown` is by how
    much the whole machine gets slower each second. `power_w` is drawn while running, `idle_w` always.
    """

    noise: float = 0.01
    quirk: float = 0.03
    interaction: float = 0.3
    slowdown: float = 0.0
    power_w: float = 5.0
    idle_w: float = 2.0
    broken: set[str] = field(default_factory=set)
    now: float = 0.0
    energy_mj: float = 0.0
    loaded: list[str] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.energy_mj += self.idle_w * seconds * 1e3

    def true_ms(self, network: Network) -> float:
        costs = [self._block_ms(block) for block in network.blocks]
        saved = self.interaction * sum(min(a, b) for a, b in itertools.pairwise(costs))
        return 0.5 + sum(costs) - saved

    def _block_ms(self, block: object) -> float:
        network = block.as_network()  # type: ignore[attr-defined]
        seed = int(block_digest(block), 16) % 2**32  # type: ignore[arg-type]
        quirk = 1 + self.quirk * np.random.default_rng(seed).standard_normal()
        counts = layer_counts(network)
        moved = sum(c.input_bytes + c.output_bytes for c in counts)
        return float(quirk * (0.05 * len(counts) + 1e-5 * count_macs(network) + 2e-5 * moved))

    def load(self, network: Network, device: Device) -> Runner:
        if network.digest in self.broken:
            raise MeasuringFailed(f"network {network.digest} is broken")
        self.loaded.append(network.digest)
        seconds = self.true_ms(network) / 1e3

        def run() -> None:
            noise = 1 + self.noise * abs(self.rng.standard_normal())
            took = seconds * noise * (1 + self.slowdown * self.now)
            self.now += took
            self.energy_mj += (self.power_w + self.idle_w) * took * 1e3

        return run


class FakeReader(EnergyReader):
    """Reads a FakeMachine's energy."""

    name = "fake"
    least_seconds = 0.05

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine

    def read_mj(self) -> float:
        return self.machine.energy_mj


@pytest.fixture(scope="session")
def make_machine() -> type[FakeMachine]:
    return FakeMachine


@pytest.fixture
def make_reader() -> Callable[[FakeMachine], EnergyReader]:
    return FakeReader


@pytest.fixture
def device() -> Device:
    return Device.here()


@pytest.fixture(scope="session")
def space() -> StagedSpace:
    stages = (StageConfig(channels=16, layers=2), StageConfig(channels=32, layers=2, stride=2))
    return StagedSpace(
        StagedSpaceConfig(stem_channels=8, stages=stages),
        input_shape=Shape(1, 8, 8),
        num_classes=10,
    )


@pytest.fixture(scope="session")
def networks(space: StagedSpace) -> list[Network]:
    rng = np.random.default_rng(3)
    return [space.resolve(space.sample(rng)) for _ in range(40)]
