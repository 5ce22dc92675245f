"""Checkpoints that are whole or not there: written beside, synced, renamed, and checked by SHA-256 when read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

_log = logging.getLogger(__name__)

FORMAT_VERSION = 2
KEPT = 3
_ARRAYS, _STATE, _MANIFEST = "arrays.safetensors", "state.json", "manifest.json"
_NAME = re.compile(r"at-(\d{8})")


class CheckpointError(ValueError):
    """A checkpoint that is damaged, from another version, or of another search."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was saved at `sequence` proposals: arrays, and everything else as JSON-ready values."""

    sequence: int
    arrays: Mapping[str, NDArray[np.generic]]
    state: Mapping[str, Any]


class CheckpointStore:
    """A folder with the last few checkpoints, each a folder ``at-<sequence>`` of three files.

    | file | content |
    |---|---|
    | arrays.safetensors | all arrays |
    | state.json | all other values |
    | manifest.json | format version, fingerprint of the search, SHA-256 of the other two files |

    Args:
        directory: made if it is not there.
        fingerprint: identifies the search; checkpoints of another one are not used.
    """

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self.directory = directory
        self._fingerprint = fingerprint

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write `checkpoint`, then remove all but the last 3. Atomic: a kill leaves the old ones whole."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target = self.directory / f"at-{checkpoint.sequence:08d}"
        temporary = self.directory / f".{target.name}.tmp"
        for stale in (temporary, target):
            if stale.exists():
                shutil.rmtree(stale)
        temporary.mkdir()
        arrays = {name: np.ascontiguousarray(a) for name, a in checkpoint.arrays.items()}
        files = {_ARRAYS: save(arrays), _STATE: _to_json(dict(checkpoint.state))}
        manifest = {
            "format": FORMAT_VERSION,
            "fingerprint": self._fingerprint,
            "sequence": checkpoint.sequence,
            "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        for name, data in (files | {_MANIFEST: _to_json(manifest)}).items():
            _write_synced(temporary / name, data)
        _sync_directory(temporary)
        temporary.rename(target)
        _sync_directory(self.directory)
        for old in self._found()[KEPT:]:
            shutil.rmtree(old)
        return target

    def usable(self) -> Iterator[Checkpoint]:
        """Whole checkpoints of this search, latest first; others are skipped with a warning."""
        for path in self._found():
            try:
                yield self._load(path)
            except (CheckpointError, OSError) as error:
                _log.warning("checkpoint %s is not used: %s", path.name, error)

    def _found(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(
            (path for path in self.directory.iterdir() if _NAME.fullmatch(path.name)), reverse=True
        )

    def _load(self, path: Path) -> Checkpoint:
        manifest = _from_json((path / _MANIFEST).read_bytes(), _MANIFEST)
        if manifest.get("format") != FORMAT_VERSION:
            raise CheckpointError(
                f"expected format {FORMAT_VERSION}, got {manifest.get('format')!r}"
            )
        if manifest.get("fingerprint") != self._fingerprint:
            raise CheckpointError("it belongs to a search with another config, space or seed")
        arrays, state = (self._checked(path, name, manifest) for name in (_ARRAYS, _STATE))
        return Checkpoint(
            sequence=int(manifest["sequence"]),
            arrays=load(arrays),
            state=_from_json(state, _STATE),
        )

    def _checked(self, path: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
        data = (path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest["sha256"].get(name):
            raise CheckpointError(f"{name} is damaged: its SHA-256 differs from the manifest's")
        return data


def _to_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, sort_keys=True).encode()


def _from_json(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise CheckpointError(f"{name} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} is damaged: expected an object")
    return value


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
