"""What a step of compression is judged by: accuracy, size and measured cost of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from archspace import Network
from child_models import count_macs, count_params
from compress.deployed import DeployedFile
from latency_models import Cost, CostSource, Device, measure_networks
from latency_models.energy import ESTIMATE_RELATIVE_STD, estimate_mj, measure_energies
from latency_models.energy_readers import find_energy_reader
from latency_models.runners import Loader, Runner, fixed_input, load_runner, onnx_runner

BATCH_SIZES = (1, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One model.

    Attributes:
        accuracy: share 0–1 on the validation split, at the exits' thresholds.
        num_params: learnable parameters.
        num_macs: multiply-accumulates of one image, all heads included.
        size_bytes: of the file that a device is given (`DeployedFile`).
        latency_ms_b1, latency_ms_b16: of one call with 1 and 16 images, no exit taken, measured in one process beside
            the other models of the pipeline; ± one standard deviation of a round in `latency_std_ms_b1`, `…_b16`.
        energy_mj: of one call with one image, no exit taken; ± `energy_std_mj`.
        energy_source: "measured" by a counter, or "estimated" from what is computed, in float32 or in INT8.
        runs: "fp32" or "int8": what is executed.
    """

    accuracy: float
    num_params: int
    num_macs: int
    size_bytes: int
    latency_ms_b1: float
    latency_std_ms_b1: float
    latency_ms_b16: float
    latency_std_ms_b16: float
    energy_mj: float
    energy_std_mj: float
    energy_source: CostSource
    runs: str

    def to_json(self) -> dict[str, Any]:
        """By attribute name."""
        return asdict(self)


def measure_files(
    files: Sequence[DeployedFile],
    device: Device,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    rounds: int = 9,
    seed: int = 0,
) -> list[list[Cost]]:
    """Latency in ms of each file by batch size: (files, batch sizes), interleaved (`measure_networks`).

    Args:
        device: `Device.here` with ONNX Runtime.
    """
    networks, load = _loading(files)
    by_batch = []
    for batch_size in batch_sizes:
        here = replace(device, batch_size=batch_size)
        measured = measure_networks(networks, here, rounds=rounds, seed=seed, load=load)
        by_batch.append([measurement.latency for measurement in measured])
    return [list(costs) for costs in zip(*by_batch, strict=True)]


def energies_mj(files: Sequence[DeployedFile], device: Device) -> list[Cost]:
    """Energy of one call with one image: measured where the device has a counter, else estimated."""
    networks, load = _loading(files)
    reader = find_energy_reader(device.accelerator)
    if reader is not None:
        return measure_energies(networks, replace(device, batch_size=1), reader, load=load)
    values = [estimate_mj(executed_network(file)) for file in files]
    return [Cost(value, ESTIMATE_RELATIVE_STD * value, "estimated") for value in values]


def executed_network(file: DeployedFile) -> Network:
    """What cost models are asked about: bits in its layers only where INT8 is executed."""
    return file.network if file.runs == "int8" else file.network.with_bits(32)


def _loading(files: Sequence[DeployedFile]) -> tuple[list[Network], Loader]:
    """Networks to hand to whoever measures, and a loader that runs each one's own file.

    Files of equal networks differ (INT8 or not), so each gets an object of its own and is told by that. Other networks
    (the reference) are loaded as usual.
    """
    networks = [replace(file.network) for file in files]
    contents = {id(network): file.onnx for network, file in zip(networks, files, strict=True)}

    def load(network: Network, device: Device) -> Runner:
        content = contents.get(id(network))
        if content is None:
            return load_runner(network, device)
        return onnx_runner(content, fixed_input(network, device.batch_size), device)

    return networks, load


def all_figures(
    files: Sequence[DeployedFile], accuracies: Sequence[float], device: Device, *, rounds: int = 9
) -> list[Figures]:
    """Of each model, in order."""
    latencies = measure_files(files, device, rounds=rounds)
    energies = energies_mj(files, device)
    return [
        Figures(
            accuracy=accuracy,
            num_params=count_params(file.network),
            num_macs=count_macs(file.network),
            size_bytes=file.size_bytes,
            latency_ms_b1=single.value,
            latency_std_ms_b1=single.std,
            latency_ms_b16=batch.value,
            latency_std_ms_b16=batch.std,
            energy_mj=energy.value,
            energy_std_mj=energy.std,
            energy_source=energy.source,
            runs=file.runs,
        )
        for file, accuracy, (single, batch), energy in zip(
            files, accuracies, latencies, energies, strict=True
        )
    ]
