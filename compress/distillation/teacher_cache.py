"""A teacher's answers about all augmented views of a training split, kept in files: a search pays the teacher once.

A folder ``<cache_dir>/<key>`` belongs to one teacher, data set, augmentation and set of views:

| file | what |
|---|---|
| ``logits.npy`` | (views, images, classes) float32 |
| ``layer-<name>.npy`` | (views, images, channels, height, width) float16 |
| ``manifest.json`` | SHA-256, shape and dtype of each file; written last |
| ``.lock`` | held by the process that writes |

Files are read through memory maps, so that processes on one host share them. A file that is not what the manifest
says (truncated, corrupted, never finished) is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from archspace import write_atomic
from child_models import AugmentationConfig, Dataset
from child_models.array_digest import array_digest
from child_models.batches import Batch, ViewBatches
from compress.distillation.teacher import Answers, LiveTeacher
from compress.errors import CompressionError
from compress.trained_model import TrainedModel

_log = logging.getLogger(__name__)

_LOGITS = "logits"
_VERSION = 1
_MANIFEST = "manifest.json"
_ON_DISK = {"float16": np.float16, "float32": np.float32}
_LARGEST = float(np.finfo(np.float16).max)


class UncacheableTeacher(CompressionError):
    """Answers that cannot be kept; the message says why and what to do."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    shape: tuple[int, ...]
    dtype: str


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = _VERSION
    files: Mapping[str, _File] = {}


class CachedTeacher:
    """Reads the teacher's answers, after making those that are missing.

    Several processes may ask for one cache at once: one makes it, the others wait.

    Args:
        model: the teacher.
        dataset: whose training split the batches show.
        batches: of the student; says which views there are.
        augmentation: of the views.
        layers: whose maps are wanted.
        cache_dir: on this host; made if missing.

    Raises:
        UncacheableTeacher: a map with NaN, or with numbers that float16 does not hold.
        OSError: no room, or no permission.
    """

    def __init__(
        self,
        model: TrainedModel,
        dataset: Dataset,
        batches: ViewBatches,
        augmentation: AugmentationConfig,
        layers: Sequence[str],
        cache_dir: Path,
    ) -> None:
        self._layers = tuple(dict.fromkeys(layers))
        self.folder = cache_dir / _key(model, dataset, batches, augmentation)
        """Where this teacher's answers lie."""
        names = [_LOGITS, *map(_layer_file, self._layers)]
        self._arrays = _open(self.folder, names) or self._make(model, batches, names)

    def __call__(self, batch: Batch) -> Answers:
        if batch.view is None:
            raise ValueError(
                "answers are kept for fixed views, and this batch is of none; "
                "train with the loss's own batches (batches=loss.batches)"
            )
        device = batch.images.device

        def read(name: str) -> Tensor:
            chosen = self._arrays[name][batch.view, batch.indices]
            return torch.from_numpy(chosen.astype(np.float32)).to(device)

        return Answers(read(_LOGITS), {layer: read(_layer_file(layer)) for layer in self._layers})

    def _make(
        self, model: TrainedModel, batches: ViewBatches, names: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            # another process may have made them while this one waited
            if (arrays := _open(self.folder, names)) is not None:
                return arrays
            manifest = _read_manifest(self.folder)
            sound = {n: f for n, f in manifest.files.items() if _is_sound(self.folder, n, f)}
            missing = [name for name in names if name not in sound]
            _log.info("teacher answers: making %s in %s", ", ".join(missing), self.folder)
            made = _write(self.folder, missing, model, batches)
            text = _Manifest(files=sound | made).model_dump_json(indent=1)
            write_atomic(self.folder / _MANIFEST, text + "\n")
        arrays = _open(self.folder, names)
        if arrays is None:
            raise OSError(f"{self.folder}: what was written cannot be read; is the disk failing?")
        return arrays


def _key(
    model: TrainedModel, dataset: Dataset, batches: ViewBatches, augmentation: AugmentationConfig
) -> str:
    """SHA-256 (first 16 hex digits) of all that the answers depend on."""
    content = [
        _VERSION,
        model.network.digest,
        array_digest(model.weights),
        dataset.digest,
        augmentation.model_dump(),
        batches.views,
        batches.views_seed,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _layer_file(layer: str) -> str:
    return f"layer-{layer}"


def _open(folder: Path, names: Sequence[str]) -> dict[str, NDArray[Any]] | None:
    """Memory maps of all files, or None where one is missing or not sound."""
    files = _read_manifest(folder).files
    if not all(name in files and _is_sound(folder, name, files[name]) for name in names):
        return None
    return {name: np.load(_path(folder, name), mmap_mode="r") for name in names}


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _read_manifest(folder: Path) -> _Manifest:
    """An empty one where there is none that can be read."""
    try:
        return _Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except FileNotFoundError:
        return _Manifest()
    except ValidationError:
        _log.warning("%s: not readable; the answers are made anew", folder / _MANIFEST)
        return _Manifest()


def _is_sound(folder: Path, name: str, file: _File) -> bool:
    path = _path(folder, name)
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    sound = _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns) == file.sha256
    if not sound:
        _log.warning("%s: not what was written; it is made anew", path)
    return sound


@lru_cache(maxsize=1024)
def _sha256(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    """Of the file's content; read once a process while the file does not change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(
    folder: Path, names: Sequence[str], model: TrainedModel, batches: ViewBatches
) -> dict[str, _File]:
    """Run the teacher over all views, and write what it says: whole files, or none."""
    for left in folder.glob(".*.tmp"):  # of a process that was killed; the lock is ours
        left.unlink()
    layers = [layer.name for layer in model.network.layers if _layer_file(layer.name) in names]
    shapes = {_LOGITS: (model.network.num_classes,)} | {
        _layer_file(layer): tuple(model.network.shapes[layer]) for layer in layers
    }
    with ExitStack() as stack:
        writers = {
            name: _Writer(stack, folder, name, (batches.views, batches.size, *shapes[name]))
            for name in names
        }
        for answers in _answers(LiveTeacher(model, layers), batches):
            for name, writer in writers.items():
                writer.add(
                    answers.logits
                    if name == _LOGITS
                    else answers.maps[name.removeprefix(_layer_file(""))]
                )
        return {name: writer.finish() for name, writer in writers.items()}


def _answers(teacher: LiveTeacher, batches: ViewBatches) -> Iterator[Answers]:
    for view in range(batches.views):
        for batch in batches.in_order(view):
            yield teacher(batch)


class _Writer:
    """Writes one array in order. Plain writing, not a memory map: a full disk is then an error, not a crash."""

    def __init__(self, stack: ExitStack, folder: Path, name: str, shape: tuple[int, ...]) -> None:
        self._path, self._shape = _path(folder, name), shape
        self._dtype = "float32" if name == _LOGITS else "float16"
        self._temporary = folder / f".{name}.{os.getpid()}.tmp"
        stack.callback(self._temporary.unlink, missing_ok=True)
        self._file = stack.enter_context(self._temporary.open("w+b"))
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(self._dtype)),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, answers: Tensor) -> None:
        array = answers.contiguous().numpy()
        limit = _LARGEST if self._dtype == "float16" else float(np.finfo(np.float32).max)
        if not (np.abs(array) <= limit).all():  # false for NaN, too
            raise UncacheableTeacher(
                f"{self._path.stem}: the teacher says NaN or a number above {limit:.3g}, which the cache does not "
                "hold; train the teacher anew, or run it on each batch (views: 0)"
            )
        self._file.write(np.ascontiguousarray(array, dtype=_ON_DISK[self._dtype]).tobytes())

    def finish(self) -> _File:
        """Make the file visible under its name, on disk for good."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
        self._temporary.replace(self._path)
        return _File(sha256=sha256, shape=self._shape, dtype=self._dtype)
