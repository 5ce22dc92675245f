"""The package's lazy table leads to what it names, without loading it beforehand."""

from __future__ import annotations

import subprocess
import sys

import compress


def test_every_public_name_can_be_fetched() -> None:
    assert all(getattr(compress, name) is not None for name in compress.__all__)
    assert compress.__all__ == sorted(compress.__all__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, compress; print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
