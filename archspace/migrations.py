"""Brings architecture documents of older schema versions up to date, one version at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from archspace.space import SchemaError

SCHEMA_VERSION = 1
"""What this release writes."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: Mapping[int, Migration] = MappingProxyType({})
"""Version → function that turns a document of it into one of the next. Version 1 is the first."""


def migrate(
    data: dict[str, Any],
    *,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
) -> dict[str, Any]:
    """`data` as a document of version `current`; `data` itself is left as it is.

    Raises:
        SchemaError: no integer ``schema_version``, one from a newer release, or one that nothing leads away from.
    """
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise SchemaError(
            f"$.schema_version: expected an integer, got {version!r}; is this an architecture file?"
        )
    if version > current:
        raise SchemaError(
            f"$.schema_version: the file has version {version}, this release reads up to {current}: "
            "upgrade Netlathe"
        )
    for step in range(version, current):
        if step not in migrations:
            raise SchemaError(
                f"$.schema_version: version {version} is not known; known: "
                f"{sorted({*migrations, current})}"
            )
        data = {**migrations[step](dict(data)), "schema_version": step + 1}
    return data
