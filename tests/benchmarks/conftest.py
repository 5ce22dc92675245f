"""The scripts of `benchmarks/` are no package: tests import them by name."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = (
    "distillation",
    "distillation_cases",
    "distillation_report",
    "fidelities",
    "headline",
    "headline_choice",
    "headline_records",
    "headline_report",
    "headline_timing",
    "headline_training",
    "job_faults",
    "job_faults_disk",
    "job_faults_kills",
    "job_faults_lanes",
    "job_faults_outcome",
    "job_faults_place",
    "mobilenet",
    "pruning",
    "pruning_report",
    "quantisation",
    "quantisation_report",
    "scale",
    "table_fidelities",
    "virtual_cluster",
)


@pytest.fixture(scope="session")
def scripts() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield {name: importlib.import_module(name) for name in NAMES}
