"""A device learnt from a table, as one file: a safetensors file whose header says what it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from archspace import SearchSpace, space_from_dict, write_atomic
from child_models.array_digest import array_digest
from latency_models.choices.encoding import ChoiceEncoding
from latency_models.choices.model import ChoiceModel
from latency_models.errors import DeviceFileChanged, DeviceFileError
from latency_models.quality import FitQuality

Unit = Literal["ms", "mJ"]
_HEADER = "netlathe"
_CHECKSUM = "sha256"
NUMBERS = ("intercept", "rest_variance", "noise_variance", "interval_scale", "least")
_ARRAYS = ("weights", "factor", "centre")


class FittedHeader(BaseModel):
    """What stands in the file's header.

    Attributes:
        device: the table's column.
        unit: of the costs.
        space: description from which the space is made again (`SearchSpace.to_dict`).
        created: UTC date and time, ISO 8601.
        num_measured: architectures that it was fitted to.
        references: columns or files of other devices that helped.
        left_out: agreement with each measurement when it is left out of the fit.
        coverage_90: share of left-out measurements inside their 90 % interval.
        others: the model's remaining numbers, by the names of `ChoiceModel`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    SCHEMA_VERSION: ClassVar[int] = 1

    kind: Literal["netlathe_fitted_device"] = "netlathe_fitted_device"
    schema_version: Literal[1] = 1
    device: str
    unit: Unit
    space: Mapping[str, Any]
    created: str
    netlathe: str
    num_measured: int = Field(ge=1)
    references: tuple[str, ...]
    left_out: FitQuality
    coverage_90: float
    others: Mapping[str, float]


@dataclass(frozen=True)
class FittedDevice:
    """A device's cost model over a space's choices, with its error."""

    header: FittedHeader
    space: SearchSpace
    model: ChoiceModel

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, with a checksum of all that it holds; a reader never sees a part of it."""
        arrays = {name: np.ascontiguousarray(getattr(self.model, name)) for name in _ARRAYS}
        header = self.header.model_dump_json()
        metadata = {_HEADER: header, _CHECKSUM: _sha256(header, arrays)}
        write_atomic(Path(path), save(arrays, metadata=metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FittedDevice:
        """Read and check a file.

        Raises:
            DeviceFileError: not such a file, a damaged one, or one of another version.
            DeviceFileChanged: its values are not those that were written; files from before there was a checksum are taken as
                they are.
            OSError: it cannot be opened.
        """
        source = Path(path)
        try:
            with safe_open(source, framework="numpy") as opened:
                metadata = opened.metadata() or {}
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise DeviceFileError(
                f"{source}: expected a device fitted by netlathe (safetensors), got something else: {error}"
            ) from error
        text = metadata.get(_HEADER, "null")
        header = _checked_header(source, text)
        if metadata.get(_CHECKSUM, whole := _sha256(text, arrays)) != whole:
            raise DeviceFileChanged(
                f"{source}: its values are not as they were written (their SHA-256 differs from the one in its header); put a "
                "copy of it back, or fit the table again"
            )
        try:
            space = space_from_dict(header.space)
        except (ValueError, TypeError, OverflowError) as error:  # OverflowError: int of infinity
            raise DeviceFileError(f"{source}: damaged at space: {error}") from error
        return cls(header, space, _model(source, header, space, arrays))


def _sha256(header: str, arrays: Mapping[str, Any]) -> str:
    """Of the header's text and all arrays."""
    return hashlib.sha256(f"{header}/{array_digest(arrays)}".encode()).hexdigest()


def _checked_header(source: Path, text: str) -> FittedHeader:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeviceFileError(f"{source}: its header is no JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != "netlathe_fitted_device":
        raise DeviceFileError(f"{source}: this safetensors file holds no device fitted by netlathe")
    if data.get("schema_version") != FittedHeader.SCHEMA_VERSION:
        raise DeviceFileError(
            f"{source}: expected schema_version {FittedHeader.SCHEMA_VERSION}, got "
            f"{data.get('schema_version')!r}; fit the table again, or update netlathe"
        )
    try:
        return FittedHeader.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DeviceFileError(f"{source}: damaged at {where}: {first['msg']}") from error


def _model(
    source: Path, header: FittedHeader, space: SearchSpace, arrays: Mapping[str, Any]
) -> ChoiceModel:
    encoding = ChoiceEncoding(space)
    if not _fit(arrays, encoding.num_codes):
        raise DeviceFileError(
            f"{source}: its weights do not fit its space; fit the table again with this netlathe"
        )
    fields: dict[str, Any] = {**arrays, **header.others}
    if set(header.others) != set(NUMBERS):
        raise DeviceFileError(f"{source}: damaged at others: expected {', '.join(NUMBERS)}")
    return ChoiceModel(encoding=encoding, left_out=np.empty(0), **fields)


def _fit(arrays: Mapping[str, Any], num_codes: int) -> bool:
    """Whether they are a model's arrays: see `ChoiceModel` for the shapes."""
    if set(arrays) != set(_ARRAYS):
        return False
    weights, factor, centre = (arrays[name] for name in _ARRAYS)
    shapes = (weights.shape, factor.shape, centre.shape)
    if shapes != ((num_codes,), (num_codes, centre.size), (centre.size,)):
        return False
    return all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays.values())
