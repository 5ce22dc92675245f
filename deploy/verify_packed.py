"""The check of ``model.packed.safetensors``: unpacked, it is the weights of the other files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from archspace import ArchitectureDocument
from deploy import files
from deploy.errors import BrokenExport
from deploy.packed_weights import folded_weights, unpacked_weights

_TOLERANCE = 1e-5
"""Of a number, as a share of its array's largest: float32's own rounding, twice."""


def check_packed(directory: Path, document: ArchitectureDocument) -> str:
    """Every weight and bias, and how many bytes the file takes."""
    if files.PACKED not in files.optional_here(directory):
        return "there is none"
    forms = json.loads((directory / files.QUANTISATION).read_text(encoding="utf-8"))["weights"]
    content = (directory / files.PACKED).read_bytes()
    try:
        arrays = load(content)
    except (SafetensorError, KeyError) as error:
        raise BrokenExport(f"{files.PACKED} cannot be read: {error}") from error
    codebooks = frozenset(name for name, form in forms.items() if form["kind"] == "codebook")
    found = unpacked_weights(document.network, arrays, codebooks)
    for name, values in folded_weights(document.network, files.read_weights(directory)).items():
        limit = _TOLERANCE * float(np.abs(values).max(initial=0)) + 1e-12
        if not np.allclose(found[name], values, rtol=0, atol=limit):
            raise BrokenExport(f"{files.PACKED}: {name} is not what {files.WEIGHTS} holds")
    plain = (directory / files.WEIGHTS).stat().st_size
    return f"{len(content):,} bytes, of {plain:,} unpacked"
