"""Reading a run file: safe YAML with caps, `--set` overrides, errors that name the key."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from service.errors import NotFoundError, UsageError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000

Model = TypeVar("Model", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """Safe loader that refuses repeated keys, aliases (a few can expand to gigabytes), deep nesting and thousands of values."""

    _depth = _values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        self._depth, self._values = self._depth + 1, self._values + 1
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep")
        if self._values > MAX_VALUES:
            raise yaml.YAMLError(f"more than {MAX_VALUES} keys and values")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(str(self.construct_object(key, deep=True)) for key, _ in node.value)
        repeated = sorted(key for key, count in keys.items() if count > 1)
        if repeated:
            raise yaml.YAMLError(f"key given twice: {repeated}{node.start_mark}")
        return super().construct_mapping(node, deep)


def _load(text: str) -> Any:
    """YAML text as data. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # its constructors raise all sorts: KeyError for `!!bool x`, ValueError for 2001-99-99
        raise yaml.YAMLError(f"a value that is none: {error!r:.200}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        NotFoundError: no such file.
        UsageError: too large, not YAML, not a mapping, or with repeated keys or aliases.
    """
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise NotFoundError(f"no config at {path}{_did_you_mean(path.name, near)}")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES // 1024} KiB: not a run file")
    try:
        data = _load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a readable YAML file: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping of settings, got {type(data).__name__}")
    return data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`data` with each ``a.b=value`` set; values are read as YAML. Raises UsageError."""
    result = deepcopy(data)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UsageError(f"--set expects key=value (search.budget=20), got {override!r}")
        node: Any = result
        *parents, last = key.split(".")
        for parent in parents:
            if isinstance(node, list):
                node = _item(node, parent, key)
                continue
            if node.get(parent) is None:
                node[parent] = {}
            node = node[parent]
            if not isinstance(node, dict | list):
                raise UsageError(f"--set {key}: {parent} is a value, not a group of settings")
        try:
            value = _load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {key}: {text!r} is not a YAML value") from error
        if isinstance(node, list):
            _item(node, last, key)
            node[int(last)] = value
        else:
            node[last] = value
    return result


def anchored(data: dict[str, Any], base: Path) -> dict[str, Any]:
    """Relative paths in a config mean "beside the config" or, if nothing is there, "from here"; a run must
    find them again from anywhere."""
    result = dict(data)
    for group, key in (("data", "path"), ("evaluator", "table"), ("teaching", "teacher")):
        section = result.get(group)
        if isinstance(section, dict) and isinstance(section.get(key), str):
            given = Path(section[key])
            beside = base / given
            found = beside if not given.is_absolute() and beside.exists() else given
            result[group] = {**section, key: str(found.absolute())}
    return result


def read_run(config: Path, overrides: Iterable[str], seed: int | None) -> dict[str, Any]:
    """A run file with overrides and, if given, its seed, its paths `anchored`; not validated yet."""
    data = apply_overrides(read_mapping(config), overrides)
    if seed is not None:
        data["seed"] = seed
    return anchored(data, config.parent)


def _item(node: list[Any], index: str, key: str) -> Any:
    if not index.isdigit() or int(index) >= len(node):
        raise UsageError(f"--set {key}: {index!r} is not an index from 0 to {len(node) - 1}")
    return node[int(index)]


def validate(model: type[Model], data: Mapping[str, Any], source: str) -> Model:
    """`data` as `model`. Raises UsageError with one line a fault, with a "did you mean" where it helps."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_fault(model, item) for item in error.errors(include_url=False)]
        raise UsageError(f"{source}:\n  " + "\n  ".join(lines)) from None


def _fault(model: type[BaseModel], item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    where = ".".join(location)
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        return f"{where}: unknown key{_did_you_mean(location[-1], known)}"
    if item["type"] == "missing":
        return f"{where}: missing"
    message = item["msg"].removeprefix("Value error, ")
    # a whole section is no help: the message of its check names what does not fit
    got = "" if isinstance(item["input"], dict) else f" (got {item['input']!r:.80})"
    return f"{where}: {message}{got}" if where else f"{message}{got}"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Field names valid at `path`; union members are told apart by their tag, which pydantic puts there."""
    models = [model]
    for part in path:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if inner:
            models = [found for annotation in inner for found in _models_in(annotation)]
    return sorted({name for m in models for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        return [found for part in get_args(annotation) for found in _models_in(part)]
    return []


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
