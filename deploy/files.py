"""The files of an export: their names, hashes, and writing a folder all at once or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archspace import ArchitectureDocument
from deploy.errors import BrokenExport, ExportError

ARCHITECTURE = "architecture.json"
CONFIG = "config.json"
CODE = "model.py"
WEIGHTS = "model.safetensors"
ONNX = "model.onnx"
PICTURE = "architecture.svg"
README = "README.md"
CHECKSUMS = "SHA256SUMS"
MEASUREMENTS = "measurements.json"

DETERMINISTIC = (ARCHITECTURE, PICTURE, CONFIG, ONNX, CODE, WEIGHTS, README)
"""Equal input gives equal bytes in these; SHA256SUMS lists them."""
EXPORT_FILES = (*DETERMINISTIC, CHECKSUMS, MEASUREMENTS)
QUANTISATION = "quantisation.json"
INT8_ONNX = "model.int8.onnx"
PACKED = "model.packed.safetensors"
OPTIONAL = (INT8_ONNX, PACKED, QUANTISATION)
"""Of a quantised network only; SHA256SUMS lists those that are there."""
BYTECODE = "__pycache__"
"""What Python leaves in an export where ``model.py`` was imported."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_document(directory: Path) -> ArchitectureDocument:
    """``architecture.json`` of an export. Raises BrokenExport."""
    try:
        return ArchitectureDocument.load(directory / ARCHITECTURE)
    except (ValueError, OSError) as error:
        raise BrokenExport(f"{ARCHITECTURE}: {error}") from error


def read_weights(directory: Path) -> dict[str, NDArray[np.float32]]:
    """``model.safetensors`` of an export, by name. Raises BrokenExport."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights: dict[str, NDArray[np.float32]] = load((directory / WEIGHTS).read_bytes())
    except (SafetensorError, OSError, KeyError) as error:
        raise BrokenExport(f"{WEIGHTS} cannot be read: {error}") from error
    return weights


def optional_here(directory: Path) -> tuple[str, ...]:
    """Those of `OPTIONAL` that are in `directory`."""
    return tuple(name for name in OPTIONAL if os.path.lexists(directory / name))


def checksums_text(contents: Mapping[str, bytes]) -> str:
    """As ``sha256sum`` writes it."""
    return "".join(
        f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents)
    )


@contextmanager
def folder_at_once(target: Path) -> Iterator[Path]:
    """A new folder to fill, which takes `target`'s place at the end.

    On any exception, and on a kill, `target` is as it was: what was written lies in a hidden sibling,
    which is removed (after a kill, by the next export to the same place).

    Raises:
        ExportError: `target` is there and holds anything but an earlier export, or cannot be written.
    """
    target = target.absolute()
    partial = target.with_name(f".{target.name}.partial")
    previous = target.with_name(f".{target.name}.previous")
    _check_replaceable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        partial.mkdir()
    except OSError as error:
        raise ExportError(f"cannot write beside {target}: {error}") from error
    try:
        yield partial
        _flush(partial)
        _remove(previous)
        if target.exists():
            target.rename(previous)
        partial.rename(target)
        _flush_folder(target.parent)
        _remove(previous)
    except OSError as error:
        _remove(partial)
        raise ExportError(f"cannot write {target}: {error}") from error
    except BaseException:
        _remove(partial)
        raise


def _check_replaceable(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportError(f"{target} is not a folder; choose another place")
    if not target.exists():
        return
    names = {path.name for path in target.iterdir()} - {BYTECODE}
    foreign = sorted(names - {*EXPORT_FILES, *OPTIONAL})
    if foreign or (names and ARCHITECTURE not in names):
        raise ExportError(
            f"{target} holds something else than an export ({', '.join(foreign or sorted(names))}); "
            "choose an empty or new folder"
        )


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
