"""Integers of 1–8 bits as bytes, without gaps between them.

| bytes | what |
|---|---|
| `HEADER_BYTES` | format 1 (1 byte), bits an integer (1), 32-bit numbers that follow (4), integers (4); little-endian |
| 4 · numbers | float32: scales or centroids |
| ⌈integers · bits / 8⌉ | the integers, lowest bit first |

So a codebook of k centroids over n weights takes n·⌈log2 k⌉ + 32k bits and the header (Han et al. 2016, section 3).
"""

from __future__ import annotations

import struct
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.errors import BrokenExport, ExportError

_HEADER = struct.Struct("<BBII")
HEADER_BYTES = _HEADER.size
_FORMAT = 1


class Packed(NamedTuple):
    """What a packed tensor holds: float32 numbers, and integers ≥ 0 of `bits` bits."""

    numbers: NDArray[np.float32]
    integers: NDArray[np.uint8]
    bits: int


def packed_size_bytes(integers: int, bits: int, numbers: int) -> int:
    """Length of what `pack` gives."""
    return HEADER_BYTES + 4 * numbers + ceil(integers * bits / 8)


def pack(content: Packed) -> bytes:
    """Raises ExportError where an integer does not fit into the bits."""
    integers, bits = content.integers.ravel(), content.bits
    if not 1 <= bits <= 8:
        raise ExportError(f"bits: expected 1 to 8, got {bits}")
    if integers.size and int(integers.max()) >= 2**bits:
        raise ExportError(f"{int(integers.max())} does not fit into {bits} bits")
    spread = np.unpackbits(
        integers.astype(np.uint8)[:, None], axis=1, count=bits, bitorder="little"
    )
    header = _HEADER.pack(_FORMAT, bits, content.numbers.size, integers.size)
    numbers = np.ascontiguousarray(content.numbers, dtype="<f4").tobytes()
    return header + numbers + np.packbits(spread.ravel(), bitorder="little").tobytes()


def unpack(data: bytes) -> Packed:
    """Inverse of `pack`; both arrays are flat.

    Raises:
        BrokenExport: not such bytes, or too few or too many of them.
    """
    if len(data) < HEADER_BYTES:
        raise BrokenExport(f"expected at least {HEADER_BYTES} bytes, got {len(data)}")
    form, bits, numbers, integers = _HEADER.unpack_from(data)
    if form != _FORMAT or not 1 <= bits <= 8:
        raise BrokenExport(f"expected packed weights of format {_FORMAT}, got format {form}")
    wanted = packed_size_bytes(integers, bits, numbers)
    if len(data) != wanted:
        raise BrokenExport(f"expected {wanted} bytes, got {len(data)}; is the file cut off?")
    body = np.frombuffer(data, dtype=np.uint8, offset=HEADER_BYTES + 4 * numbers)
    spread = np.unpackbits(body, count=integers * bits, bitorder="little").reshape(-1, bits)
    return Packed(
        np.frombuffer(data, dtype="<f4", offset=HEADER_BYTES, count=numbers).astype(np.float32),
        np.packbits(spread, axis=1, bitorder="little").ravel(),
        bits,
    )
