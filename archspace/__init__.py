"""Search spaces: decisions, masks, architectures and the resolved networks they mean."""

from archspace.network import (
    INPUT,
    Block,
    Exit,
    Layer,
    Network,
    Shape,
    network_from_dict,
    network_to_dict,
)
from archspace.space import (
    Architecture,
    BlockCost,
    Choice,
    Choices,
    Decision,
    InvalidChoices,
    SchemaError,
    SearchSpace,
    SpaceError,
    SpaceSize,
)

__all__ = [
    "INPUT",
    "Architecture",
    "Block",
    "BlockCost",
    "Choice",
    "Choices",
    "Decision",
    "Exit",
    "InvalidChoices",
    "Layer",
    "Network",
    "SchemaError",
    "SearchSpace",
    "Shape",
    "SpaceError",
    "SpaceSize",
    "network_from_dict",
    "network_to_dict",
]
