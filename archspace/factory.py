"""Makes a search space again from its description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archspace.nasbench201 import NasBench201Space
from archspace.nasbench201_config import NasBench201SpaceConfig
from archspace.network import Shape
from archspace.space import SearchSpace, SpaceError
from archspace.staged import StagedSpace
from archspace.staged_config import StagedSpaceConfig

_FIELDS = {"kind", "config", "input_shape", "num_classes"}


def space_from_dict(data: Mapping[str, Any]) -> SearchSpace:
    """Inverse of `SearchSpace.to_dict`: the same kind, decisions and digest.

    Raises:
        SpaceError: unknown kind, or missing or unknown fields.
        pydantic.ValidationError: the config does not fit its model (a ValueError, too).
    """
    if set(data) != _FIELDS:
        raise SpaceError(f"a space needs the fields {sorted(_FIELDS)}, got {sorted(data)}")
    kind, config = data["kind"], data["config"]
    num_classes = int(data["num_classes"])
    try:
        shape = Shape(**{name: int(number) for name, number in data["input_shape"].items()})
    except (TypeError, AttributeError) as error:
        raise SpaceError(
            f"input_shape: expected channels, height and width, got {data['input_shape']!r}"
        ) from error
    if kind == StagedSpace.kind:
        staged = StagedSpaceConfig.model_validate(config)
        return StagedSpace(staged, input_shape=shape, num_classes=num_classes)
    if kind == NasBench201Space.kind:
        cell = NasBench201SpaceConfig.model_validate(config)
        return NasBench201Space(cell, input_shape=shape, num_classes=num_classes)
    raise SpaceError(f"unknown kind of space {kind!r}: expected 'staged' or 'nasbench201'")
