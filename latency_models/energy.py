"""Energy of a call: measured with a counter where there is one, else estimated from what is computed.

The estimate is what arithmetic and memory take at least, from published figures of a 45 nm process at 0.9 V
(Horowitz, "Computing's Energy Problem", ISSCC 2014, figure 1.1.9):

| what | energy |
|---|---|
| float32 multiply + add | 3.7 pJ + 0.9 pJ = 4.6 pJ a multiply-accumulate |
| 8-bit integer multiply + 32-bit add | 0.2 pJ + 0.1 pJ = 0.3 pJ a multiply-accumulate, where a network runs in INT8 |
| on-chip memory (1 MB cache, 100 pJ a 64-bit word) | 12.5 pJ a byte |
| DRAM (1.3 to 2.6 nJ a 64-bit word; the lower figure) | 162.5 pJ a byte, instead of the above |

Assumed: each layer reads its maps and weights once and writes its map once; a layer whose maps and weights
exceed 1 MB moves them through DRAM, any other one stays on the chip. Left out: instructions, clock, leakage, idle
power and the rest of the machine. So it ranks networks of one device; a socket's meter shows much more. The stated
standard deviation is half of the value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import nnls

from archspace import Block, Network
from child_models import layer_counts
from latency_models.cost import Cost, CostSource
from latency_models.device import Device
from latency_models.energy_readers import EnergyReader
from latency_models.errors import MeasuringFailed
from latency_models.runners import Loader, Runner, load_runner, runtime_threads

PJ_PER_MAC = 4.6
PJ_PER_INT8_MAC = 0.3
PJ_PER_BYTE_ON_CHIP = 12.5
PJ_PER_BYTE_DRAM = 162.5
ON_CHIP_BYTES = 1_000_000
ESTIMATE_RELATIVE_STD = 0.5
_MJ_PER_PJ = 1e-9
_LEAST_RELATIVE_STD = 0.05


class EnergyModel(BaseModel):
    """Energy of a call = `mj_per_ms` · latency + `estimate_scale` · estimate; see the file's head.

    Attributes:
        source: ``estimated`` (then mj_per_ms = 0, estimate_scale = 1), or ``predicted``: both numbers were
            fitted to energies measured with `reader`.
        reader: name of the counter, or None.
        mj_per_ms: power while running, in mJ a millisecond (= watts), ≥ 0.
        estimate_scale: how many times the estimate it takes, ≥ 0.
        relative_std: standard deviation over the value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: Literal["predicted", "estimated"] = "estimated"
    reader: str | None = None
    mj_per_ms: float = Field(default=0.0, ge=0)
    estimate_scale: float = Field(default=1.0, ge=0)
    relative_std: float = Field(default=ESTIMATE_RELATIVE_STD, gt=0)

    def cost(self, latency_ms: float, estimate_mj: float) -> Cost:
        """Energy in mJ of a call; source `source`."""
        value = self.value(latency_ms, estimate_mj)
        source: CostSource = self.source
        return Cost(value, value * self.relative_std, source)

    def value(self, latency_ms: float, estimate_mj: float) -> float:
        return self.mj_per_ms * latency_ms + self.estimate_scale * estimate_mj


def estimate_mj(network: Network, batch_size: int = 1) -> float:
    """The estimate for one call with `batch_size` images, in mJ; > 0 for every network."""
    per_mac = PJ_PER_INT8_MAC if network.is_int8 else PJ_PER_MAC
    picojoules = 0.0
    for count in layer_counts(network):
        moved = batch_size * (count.input_bytes + count.output_bytes) + count.weight_bytes
        per_byte = PJ_PER_BYTE_ON_CHIP if moved <= ON_CHIP_BYTES else PJ_PER_BYTE_DRAM
        picojoules += batch_size * count.macs * per_mac + moved * per_byte
    return picojoules * _MJ_PER_PJ


def estimate_block_mj(block: Block, batch_size: int = 1) -> float:
    """The block's share: estimates of blocks add up to the network's."""
    return estimate_mj(block.as_network(), batch_size)


def measure_energies(
    networks: Sequence[Network],
    device: Device,
    reader: EnergyReader,
    *,
    parts: int = 3,
    load: Loader = load_runner,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Cost]:
    """Energy in mJ that one call of each network adds to the idle device, source ``measured``.

    Each network runs again and again for `parts` times `reader.least_seconds`. What the idle device takes is read
    before and after all of it and subtracted. The std is that of one part, and of the idle power between its two readings.

    Raises:
        MeasuringFailed: a network does not run, the counter has gone, or it shows no more than the idle
            device takes.
    """
    with runtime_threads(device):
        idle_mw = [idle_power_mw(reader, clock=clock, sleep=sleep)]
        runs = []
        for network in networks:
            runner = load(network, device)
            runs.append([_run_and_read(runner, reader, clock) for _ in range(parts)])
        idle_mw.append(idle_power_mw(reader, clock=clock, sleep=sleep))
    return [_cost(own, idle_mw, reader.name) for own in runs]


class _Reading(NamedTuple):
    """What the counter showed while a network ran; all a call."""

    used_mj: float
    seconds: float


def _run_and_read(runner: Runner, reader: EnergyReader, clock: Callable[[], float]) -> _Reading:
    calls, start, before = 0, clock(), _read(reader)
    while calls == 0 or clock() - start < reader.least_seconds:
        runner()
        calls += 1
    return _Reading((_read(reader) - before) / calls, (clock() - start) / calls)


def _cost(runs: Sequence[_Reading], idle_mw: Sequence[float], reader_name: str) -> Cost:
    idle = float(np.mean(idle_mw))
    values = [run.used_mj - idle * run.seconds for run in runs]
    for run, value in zip(runs, values, strict=True):
        if not np.isfinite(value) or value <= 0:
            raise MeasuringFailed(
                f"{reader_name} shows {run.used_mj:.3g} mJ a call of {1e3 * run.seconds:.3g} ms, not more than the idle "
                f"device takes in that time ({idle * run.seconds:.3g} mJ)"
            )
    of_parts = np.std(values, ddof=1) if len(values) > 1 else 0.0
    of_idle = np.std(idle_mw, ddof=1) * np.mean([run.seconds for run in runs])
    return Cost(float(np.mean(values)), float(np.hypot(of_parts, of_idle)), "measured")


def idle_power_mw(
    reader: EnergyReader,
    seconds: float = 1.0,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Mean power in mW (= mJ a second) while nothing is run here. Raises MeasuringFailed."""
    start, before = clock(), _read(reader)
    sleep(max(seconds, reader.least_seconds))
    return (_read(reader) - before) / (clock() - start)


def fit_energy(
    reader_name: str,
    latencies_ms: Sequence[float],
    estimates_mj: Sequence[float],
    measured_mj: Sequence[float],
) -> EnergyModel:
    """Fit to measured energies (≥ 1 network) by non-negative least squares on relative errors."""
    y = np.asarray(measured_mj, dtype=np.float64)
    design = np.column_stack([latencies_ms, estimates_mj]) / y[:, None]
    weights = nnls(design, np.ones(len(y)))[0]
    errors = design @ weights - 1
    spare = max(1, len(y) - len(weights))
    return EnergyModel(
        source="predicted",
        reader=reader_name,
        mj_per_ms=float(weights[0]),
        estimate_scale=float(weights[1]),
        relative_std=max(_LEAST_RELATIVE_STD, float(np.sqrt(np.sum(errors**2) / spare))),
    )


def _read(reader: EnergyReader) -> float:
    try:
        return reader.read_mj()
    except OSError as error:
        raise MeasuringFailed(
            f"the energy counter {reader.name} cannot be read: {error}"
        ) from error
