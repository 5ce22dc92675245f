"""What named arrays hold, in one number. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def array_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and values, in whatever order and memory layout; 64 hex digits."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        content.update(f"{name}/{array.dtype.str}/{array.shape}/".encode())
        content.update(array.tobytes())
    return content.hexdigest()
