"""Search spaces: decisions, masks, architectures and the resolved networks they mean."""

from archspace.atomic_file import is_disk_full, new_folder, write_atomic
from archspace.document import ArchitectureDocument, Normalization, SpaceReference
from archspace.factory import space_from_dict
from archspace.nasbench201 import NasBench201Space
from archspace.nasbench201_cell import CELL_OPS, live_edge_columns
from archspace.nasbench201_cell import EDGES as CELL_EDGES
from archspace.nasbench201_config import NasBench201SpaceConfig
from archspace.network import (
    INPUT,
    INT8_BITS,
    WEIGHTED,
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
from archspace.sqlite_url import sqlite_url
from archspace.staged import StagedSpace
from archspace.staged_config import StageConfig, StagedSpaceConfig

__all__ = [
    "CELL_EDGES",
    "CELL_OPS",
    "INPUT",
    "INT8_BITS",
    "WEIGHTED",
    "Architecture",
    "ArchitectureDocument",
    "Block",
    "BlockCost",
    "Choice",
    "Choices",
    "Decision",
    "Exit",
    "InvalidChoices",
    "Layer",
    "NasBench201Space",
    "NasBench201SpaceConfig",
    "Network",
    "Normalization",
    "SchemaError",
    "SearchSpace",
    "Shape",
    "SpaceError",
    "SpaceReference",
    "SpaceSize",
    "StageConfig",
    "StagedSpace",
    "StagedSpaceConfig",
    "is_disk_full",
    "live_edge_columns",
    "network_from_dict",
    "network_to_dict",
    "new_folder",
    "space_from_dict",
    "sqlite_url",
    "write_atomic",
]
