"""Finished steps on disk, so that a pipeline that was stopped goes on where it was.

A step's folder is named by its place and kind, and holds the key of everything that its result depends on. Another
key (another plan, model, data set or seed) makes the step run again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archspace import new_folder
from child_models.array_digest import array_digest
from compress.errors import ModelNotReadable
from compress.stored_models import StoredModel, read_model, write_model
from compress.trained_model import TrainedModel

VERSION = 1
"""Grows when a step would give another result for the same key."""
_RESULT = "step.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class StepResult:
    """What a step gave.

    Attributes:
        details: JSON-ready: what the step says about itself (losses, rounds, bits).
        seconds: how long it took, for people.
    """

    stored: StoredModel
    details: Mapping[str, Any]
    seconds: float


def model_key(model: TrainedModel) -> str:
    """16 hex digits over the network, its thresholds, all weights and their grids."""
    digest = hashlib.sha256(model.network.digest.encode())
    digest.update(repr([exit_.threshold for exit_ in model.network.exits]).encode())
    digest.update(array_digest(model.weights).encode())
    if model.quantisation is not None:
        digest.update(model.quantisation.to_json().encode())
    return digest.hexdigest()[:16]


def step_key(parts: Sequence[str]) -> str:
    """16 hex digits over texts that say what a step depends on, and `VERSION`."""
    text = json.dumps([VERSION, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class StepStore:
    """The folders of one pipeline's steps.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def folder_of(self, number: int, kind: str) -> Path:
        """Where step `number` (from 1) is kept."""
        return self._folder / f"{number}-{kind}"

    def read(self, number: int, kind: str, key: str) -> StepResult | None:
        """The step's result, or None where it has not been done, was done for another key, or is damaged."""
        folder = self.folder_of(number, kind)
        try:
            record = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
            if record["key"] != key:
                return None
            stored = read_model(folder)
            if model_key(stored.model) != record["model"]:
                return None
            return StepResult(stored=stored, details=record["details"], seconds=record["seconds"])
        except (OSError, ValueError, KeyError, TypeError, ModelNotReadable):
            return None

    def write(self, number: int, kind: str, key: str, result: StepResult) -> None:
        """Keep a result, whole or not at all; an earlier one in its place is removed."""
        folder = self.folder_of(number, kind)
        shutil.rmtree(folder, ignore_errors=True)
        record = {
            "key": key,
            "model": model_key(result.stored.model),
            "details": result.details,
            "seconds": result.seconds,
        }
        with new_folder(folder) as partial:
            write_model(partial, result.stored)
            (partial / _RESULT).write_text(json.dumps(record, indent=1), encoding="utf-8")
