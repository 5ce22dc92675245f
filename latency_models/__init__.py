"""What networks cost on a device: measuring, energy, learned cost models and tables of measured results.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latency_models.calibration import interval_90
    from latency_models.choices.bench import BenchRecord, LatencyBench
    from latency_models.choices.fit_device import choose_to_measure, fit_device
    from latency_models.choices.fitted_device import FittedDevice
    from latency_models.choices.known_devices import KnownDevice
    from latency_models.choices.model import ChoiceModel, fit_choice_model
    from latency_models.choices.table import ChoiceTable
    from latency_models.choices.worksheet import write_worksheet
    from latency_models.comparison import BlockRatio, DeviceComparison, compare_devices
    from latency_models.correction import Correction
    from latency_models.cost import Cost, CostModel, CostSource, PrefixCosts
    from latency_models.cost_model import ProfiledCostModel
    from latency_models.device import Device, DeviceConfig
    from latency_models.device_file import DeviceFile
    from latency_models.energy_readers import EnergyReader, find_energy_reader
    from latency_models.errors import (
        CostModelRefused,
        DeviceFileChanged,
        DeviceFileError,
        DeviceUnavailable,
        JournalMismatch,
        LatencyModelError,
        MeasuringFailed,
        SuiteError,
        TableError,
    )
    from latency_models.explain import (
        BlockShare,
        Explanation,
        LayerShare,
        Remainder,
        explain_network,
    )
    from latency_models.features import BLOCK_FEATURES, block_features
    from latency_models.measuring import Measurement, measure_networks, reference_network
    from latency_models.prefix import prefix_network, prefix_networks
    from latency_models.profile import profile_device
    from latency_models.profile_config import ProfileConfig
    from latency_models.quality import ProfileReport
    from latency_models.sampling import blocks_to_measure
    from latency_models.suite import SuiteConfig, write_suite
    from latency_models.suite_import import ImportedSuite, import_suite
    from latency_models.suite_manifest import SuiteManifest
    from latency_models.table import MeasuredTable

_NAMES_BY_FILE = {
    "choices.bench": ("BenchRecord", "LatencyBench"),
    "choices.fit_device": ("choose_to_measure", "fit_device"),
    "choices.fitted_device": ("FittedDevice",),
    "choices.known_devices": ("KnownDevice",),
    "choices.model": ("ChoiceModel", "fit_choice_model"),
    "choices.table": ("ChoiceTable",),
    "choices.worksheet": ("write_worksheet",),
    "calibration": ("interval_90",),
    "comparison": ("BlockRatio", "DeviceComparison", "compare_devices"),
    "correction": ("Correction",),
    "cost": ("Cost", "CostModel", "CostSource", "PrefixCosts"),
    "cost_model": ("ProfiledCostModel",),
    "device": ("Device", "DeviceConfig"),
    "device_file": ("DeviceFile",),
    "energy_readers": ("EnergyReader", "find_energy_reader"),
    "errors": (
        "CostModelRefused",
        "DeviceFileChanged",
        "DeviceFileError",
        "DeviceUnavailable",
        "JournalMismatch",
        "LatencyModelError",
        "MeasuringFailed",
        "SuiteError",
        "TableError",
    ),
    "features": ("BLOCK_FEATURES", "block_features"),
    "explain": ("BlockShare", "Explanation", "LayerShare", "Remainder", "explain_network"),
    "measuring": ("Measurement", "measure_networks", "reference_network"),
    "prefix": ("prefix_network", "prefix_networks"),
    "profile": ("profile_device",),
    "profile_config": ("ProfileConfig",),
    "quality": ("ProfileReport",),
    "sampling": ("blocks_to_measure",),
    "suite": ("SuiteConfig", "write_suite"),
    "suite_import": ("ImportedSuite", "import_suite"),
    "suite_manifest": ("SuiteManifest",),
    "table": ("MeasuredTable",),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "BLOCK_FEATURES",
    "BenchRecord",
    "BlockRatio",
    "BlockShare",
    "ChoiceModel",
    "ChoiceTable",
    "Correction",
    "Cost",
    "CostModel",
    "CostModelRefused",
    "CostSource",
    "Device",
    "DeviceComparison",
    "DeviceConfig",
    "DeviceFile",
    "DeviceFileChanged",
    "DeviceFileError",
    "DeviceUnavailable",
    "EnergyReader",
    "Explanation",
    "FittedDevice",
    "ImportedSuite",
    "JournalMismatch",
    "KnownDevice",
    "LatencyBench",
    "LatencyModelError",
    "LayerShare",
    "MeasuredTable",
    "Measurement",
    "MeasuringFailed",
    "PrefixCosts",
    "ProfileConfig",
    "ProfileReport",
    "ProfiledCostModel",
    "Remainder",
    "SuiteConfig",
    "SuiteError",
    "SuiteManifest",
    "TableError",
    "block_features",
    "blocks_to_measure",
    "choose_to_measure",
    "compare_devices",
    "explain_network",
    "find_energy_reader",
    "fit_choice_model",
    "fit_device",
    "import_suite",
    "interval_90",
    "measure_networks",
    "prefix_network",
    "prefix_networks",
    "profile_device",
    "reference_network",
    "write_suite",
    "write_worksheet",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"latency_models.{_FILES[name]}"), name)
