"""The architecture file: a resolved network and what a consumer must know to use it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from archspace.atomic_file import write_atomic
from archspace.migrations import SCHEMA_VERSION, migrate
from archspace.network import Network, network_from_dict, network_to_dict
from archspace.network_checks import check_network
from archspace.space import Choice, SchemaError

SCHEMA_PATH = Path(__file__).with_name("architecture.schema.json")
"""The published JSON Schema (2020-12) of `SCHEMA_VERSION`."""

MAX_BYTES = 4 * 2**20
"""Larger files are refused unread."""

_MAX_DEPTH = 32


class SpaceReference(TypedDict):
    """The space that an architecture was found in."""

    kind: str
    digest: str


@dataclass(frozen=True, slots=True)
class Normalization:
    """The network expects (image − mean) / std by channel; images in [0, 1], RGB or grey."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ArchitectureDocument:
    """Everything in ``architecture.json``.

    Attributes:
        digest: `Architecture.digest`, 16 hex digits.
        label: `Architecture.label`.
        network: layers, and exits with their thresholds. Enough to build it.
        space: where it was found, or None.
        choices: decision name → chosen value (`SearchSpace.named`), or None.
        class_names: one a class, or empty where unknown.
        normalization: None where the network expects images as they are.
        num_params: learnable parameters, all heads included.
        macs: multiply-accumulates of one image, all heads included.
    """

    digest: str
    label: str
    network: Network
    space: SpaceReference | None = None
    choices: Mapping[str, Choice] | None = None
    class_names: tuple[str, ...] = ()
    normalization: Normalization | None = None
    num_params: int | None = None
    macs: int | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """UTF-8 text that `from_json` accepts. Raises SchemaError if a field does not fit the schema."""
        data = self._to_dict()
        _validate(data)
        _check(self)
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Write `to_json` to `path`, whole or not at all."""
        write_atomic(Path(path), self.to_json())

    @classmethod
    def from_json(cls, text: str) -> ArchitectureDocument:
        """Parse, migrate and check. Raises SchemaError, with the JSON path of what is wrong."""
        if len(text) > MAX_BYTES:
            raise SchemaError(f"$: expected at most {MAX_BYTES} characters, got {len(text)}")
        data = _parse(text)
        if not isinstance(data, dict):
            raise SchemaError(f"$: expected an object, got {type(data).__name__}")
        data = migrate(data)
        _validate(data)
        document = cls._from_dict(data)
        _check(document)
        return document

    @classmethod
    def load(cls, path: str | Path) -> ArchitectureDocument:
        """Read a file. Raises SchemaError, or OSError if it cannot be read."""
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SchemaError(f"{path}: larger than {MAX_BYTES} bytes; not an architecture file")
        try:
            return cls.from_json(content.decode("utf-8"))
        except (UnicodeDecodeError, SchemaError) as error:
            raise SchemaError(f"{path}: {error}") from error

    def _to_dict(self) -> dict[str, Any]:
        normalization = self.normalization
        return {
            "schema_version": self.schema_version,
            "digest": self.digest,
            "label": self.label,
            "space": None if self.space is None else dict(self.space),
            "choices": None if self.choices is None else dict(self.choices),
            "network": network_to_dict(self.network),
            "class_names": list(self.class_names),
            "normalization": normalization
            and {"mean": list(normalization.mean), "std": list(normalization.std)},
            "num_params": self.num_params,
            "macs": self.macs,
        }

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> ArchitectureDocument:
        normalization = data["normalization"] and Normalization(
            mean=tuple(float(value) for value in data["normalization"]["mean"]),
            std=tuple(float(value) for value in data["normalization"]["std"]),
        )
        own = {
            "network": network_from_dict(data["network"]),
            "class_names": tuple(data["class_names"]),
            "normalization": normalization,
        }
        return cls(**{**data, **own})


def _parse(text: str) -> Any:
    try:
        data = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_without_repeats,
        )
    except SchemaError:
        raise
    except RecursionError as error:
        raise SchemaError(f"$: nested more than {_MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise SchemaError(f"$: not valid JSON: {error}") from error
    _check_depth(data)
    return data


def _refuse_constant(text: str) -> NoReturn:
    raise SchemaError(f"$: {text} is not a JSON number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise SchemaError(f"$: the number {text[:40]} is too large")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"$: the key {repeated[:100]!r} occurs twice in one object")
    return data


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(_MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise SchemaError(f"$: nested more than {_MAX_DEPTH} levels deep")


@cache
def _validator() -> Any:
    # imported late: most users of this package read no documents
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def is_integer(_: object, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)  # 3.0 would pass elsewhere

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer)
    strict = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    return strict(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


def _validate(data: dict[str, Any]) -> None:
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(data))
    if error is not None:
        raise SchemaError(f"{error.json_path}: {error.message[:500]}")


def _check(document: ArchitectureDocument) -> None:
    network = document.network
    check_network(network)
    if len(document.class_names) not in (0, network.num_classes):
        raise SchemaError(
            f"$.class_names: expected {network.num_classes} names, got {len(document.class_names)}"
        )
    channels = network.input_shape.channels
    for field in ("mean", "std") if document.normalization else ():
        values = getattr(document.normalization, field)
        if len(values) != channels:
            raise SchemaError(
                f"$.normalization.{field}: expected {channels} numbers, one a channel, "
                f"got {len(values)}"
            )
    staged = document.space is not None and document.space["kind"] == "staged"
    if staged and document.digest != network.digest:
        raise SchemaError(
            f"$.digest: the layers have digest {network.digest}, the file says {document.digest}: "
            "it was changed by hand or damaged"
        )
