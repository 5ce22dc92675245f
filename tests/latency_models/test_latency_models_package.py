import subprocess
import sys

import pytest

import latency_models


def test_public_names_are_sorted_and_there() -> None:
    assert sorted(latency_models.__all__) == latency_models.__all__
    for name in latency_models.__all__:
        assert getattr(latency_models, name) is not None


def test_misspelt_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Costs'"):
        latency_models.Costs  # type: ignore[attr-defined]  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, latency_models as m; m.Cost; m.DeviceConfig; m.ProfileConfig; "
        "print([n for n in ('torch', 'onnxruntime', 'pandas', 'sklearn') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
