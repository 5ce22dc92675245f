"""Energy counters: NVIDIA GPUs through NVML, Intel and AMD processors through RAPL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from latency_models.device import Accelerator

_POWERCAP = Path("/sys/class/powercap")


class EnergyReader(ABC):
    """A counter of the energy that a processor has taken."""

    name: ClassVar[str]
    least_seconds: ClassVar[float]
    """Time that must lie between two reads for their difference to be trusted."""

    @abstractmethod
    def read_mj(self) -> float:
        """Millijoules since some moment; never falls. Raises OSError if the counter has gone."""


class RaplReader(EnergyReader):
    """All CPU packages, from Linux's powercap files (they need read permission, usually root's).

    Source: Linux kernel documentation, "Power Capping Framework", ``energy_uj`` and ``max_energy_range_uj``.
    """

    name = "RAPL"
    least_seconds = 0.3  # counters move about every millisecond

    def __init__(self, root: Path = _POWERCAP) -> None:
        # intel-rapl:0 is a package; intel-rapl:0:1 is a part of it, and would count twice
        self._zones = [
            zone
            for zone in sorted(root.glob("intel-rapl:*"))
            if zone.name.count(":") == 1 and _text(zone / "name").startswith("package")
        ]
        if not self._zones:
            raise OSError(f"no RAPL package counter under {root}")
        self._ranges_uj = [int(_text(zone / "max_energy_range_uj")) for zone in self._zones]
        self._last_uj = self._raw()
        self._total_uj = 0

    def read_mj(self) -> float:
        now = self._raw()
        for old, new, limit in zip(self._last_uj, now, self._ranges_uj, strict=True):
            self._total_uj += new - old if new >= old else new - old + limit  # it wrapped
        self._last_uj = now
        return self._total_uj / 1e3

    def _raw(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


class NvmlReader(EnergyReader):
    """The first NVIDIA GPU's total energy (``nvmlDeviceGetTotalEnergyConsumption``; Volta or newer)."""

    name = "NVML"
    least_seconds = 1.0  # counters move every 20 to 100 ms

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            self.read_mj()
        except pynvml.NVMLError as error:
            raise OSError(f"no energy counter through NVML: {error}") from error

    def read_mj(self) -> float:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError as error:
            raise OSError(f"NVML's energy counter: {error}") from error


def find_energy_reader(accelerator: Accelerator | None = None) -> EnergyReader | None:
    """The counter of the processor that runs the networks, or None where there is none to be read.

    Args:
        accelerator: cuda for NVML, cpu for RAPL; None for whichever is there.
    """
    kinds: list[type[EnergyReader]] = []
    if accelerator != "cpu":
        kinds.append(NvmlReader)
    if accelerator != "cuda":
        kinds.append(RaplReader)
    for kind in kinds:
        try:
            return kind()
        except (OSError, ValueError, ImportError):
            continue
    return None


def _text(path: Path) -> str:
    return path.read_text().strip()
