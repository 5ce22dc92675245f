"""What networks cost on a device: measuring, energy, learned cost models and tables of measured results.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latency_models.cost import Cost, CostModel, CostSource, PrefixCosts
    from latency_models.cost_model import ProfiledCostModel
    from latency_models.device import Device, DeviceConfig
    from latency_models.device_file import DeviceFile
    from latency_models.energy_readers import EnergyReader, find_energy_reader
    from latency_models.errors import (
        CostModelRefused,
        DeviceFileError,
        DeviceUnavailable,
        LatencyModelError,
        MeasuringFailed,
        TableError,
    )
    from latency_models.measuring import Measurement, measure_networks, reference_network
    from latency_models.prefix import prefix_network, prefix_networks
    from latency_models.profile import profile_device
    from latency_models.profile_config import ProfileConfig
    from latency_models.quality import ProfileReport
    from latency_models.table import MeasuredTable

_NAMES_BY_FILE = {
    "cost": ("Cost", "CostModel", "CostSource", "PrefixCosts"),
    "cost_model": ("ProfiledCostModel",),
    "device": ("Device", "DeviceConfig"),
    "device_file": ("DeviceFile",),
    "energy_readers": ("EnergyReader", "find_energy_reader"),
    "errors": (
        "CostModelRefused",
        "DeviceFileError",
        "DeviceUnavailable",
        "LatencyModelError",
        "MeasuringFailed",
        "TableError",
    ),
    "measuring": ("Measurement", "measure_networks", "reference_network"),
    "prefix": ("prefix_network", "prefix_networks"),
    "profile": ("profile_device",),
    "profile_config": ("ProfileConfig",),
    "quality": ("ProfileReport",),
    "table": ("MeasuredTable",),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "Cost",
    "CostModel",
    "CostModelRefused",
    "CostSource",
    "Device",
    "DeviceConfig",
    "DeviceFile",
    "DeviceFileError",
    "DeviceUnavailable",
    "EnergyReader",
    "LatencyModelError",
    "MeasuredTable",
    "Measurement",
    "MeasuringFailed",
    "PrefixCosts",
    "ProfileConfig",
    "ProfileReport",
    "ProfiledCostModel",
    "TableError",
    "find_energy_reader",
    "measure_networks",
    "prefix_network",
    "prefix_networks",
    "profile_device",
    "reference_network",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"latency_models.{_FILES[name]}"), name)
