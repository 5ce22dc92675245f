"""The NAS-Bench-201 search space: one cell of six edges, repeated through a fixed macro network."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from archspace.builder import LayerBuilder
from archspace.cost_memo import CostMemo
from archspace.nasbench201_cell import (
    CELL_OPS,
    EDGES,
    cell_from_str,
    cell_to_str,
    count_cell,
    function_key,
)
from archspace.nasbench201_config import NasBench201SpaceConfig
from archspace.nasbench201_network import (
    append_cell_op,
    append_head,
    append_reduction,
    build_network,
)
from archspace.network import INPUT, Block, Network, Shape
from archspace.space import (
    Architecture,
    BlockCost,
    Choices,
    Decision,
    InvalidChoices,
    SearchSpace,
    SpaceError,
    SpaceSize,
)

_CIFAR = Shape(3, 32, 32)
_NUM_CELLS = len(CELL_OPS) ** len(EDGES)


class NasBench201Space(SearchSpace):
    """Six decisions ``cell.edge0_1`` …, in the order of the arch string; every choice is always valid.

    | index | choice |
    |---|---|
    | 0 | none |
    | 1 | skip_connect |
    | 2 | nor_conv_1x1 |
    | 3 | nor_conv_3x3 |
    | 4 | avg_pool_3x3 |

    `Architecture.digest` comes from the literal arch string: isomorphic cells share accuracy, not latency.

    Args:
        config: the macro network.
        input_shape: height and width must be multiples of 4 (two reduction blocks).
        num_classes: length of the logits.
    """

    kind: ClassVar[str] = "nasbench201"

    def __init__(
        self,
        config: NasBench201SpaceConfig | None = None,
        *,
        input_shape: Shape = _CIFAR,
        num_classes: int = 10,
    ) -> None:
        self.config = config or NasBench201SpaceConfig()
        self.input_shape = Shape(*input_shape)
        self.num_classes = num_classes
        channels, height, width = self.input_shape
        if channels < 1 or num_classes < 2:
            raise SpaceError(
                f"expected ≥ 1 channel and ≥ 2 classes, got {channels} and {num_classes}"
            )
        if height < 4 or width < 4 or height % 4 or width % 4:
            raise SpaceError(
                f"NAS-Bench-201 halves the pixels twice: expected height and width in multiples "
                f"of 4, got {height}×{width}; resize or pad the images"
            )
        self.decisions = tuple(Decision(f"cell.edge{a}_{b}", CELL_OPS) for a, b in EDGES)
        self._cheapest = CostMemo[list[NDArray[np.float64]]]()

    @cached_property
    def digest(self) -> str:
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def mask(self, prefix: Sequence[int]) -> NDArray[np.bool_]:
        self._check_prefix(prefix)
        if len(prefix) == len(EDGES):
            raise InvalidChoices(f"all {len(EDGES)} decisions are made; there is no next one")
        return np.ones(len(CELL_OPS), dtype=np.bool_)

    def _check_prefix(self, prefix: Sequence[int]) -> None:
        if len(prefix) > len(EDGES):
            raise InvalidChoices(f"expected at most {len(EDGES)} choices, got {len(prefix)}")
        for decision, choice in zip(self.decisions, prefix, strict=False):
            if not 0 <= choice < len(CELL_OPS):
                raise InvalidChoices(
                    f"{decision.name}: expected a choice in 0–{len(CELL_OPS) - 1}, got {choice}"
                )

    def masks(self, prefixes: NDArray[np.integer]) -> NDArray[np.bool_]:
        for row in prefixes[((prefixes < 0) | (prefixes >= len(CELL_OPS))).any(axis=1)]:
            self._check_prefix(row.tolist())
        if prefixes.shape[1] >= len(EDGES):
            raise InvalidChoices(f"all {len(EDGES)} decisions are made; there is no next one")
        return np.ones((len(prefixes), len(CELL_OPS)), dtype=np.bool_)

    def sample(self, rng: np.random.Generator) -> Choices:
        return tuple(rng.integers(len(CELL_OPS), size=len(EDGES)).tolist())

    def check(self, choices: Sequence[int]) -> Choices:
        cell = tuple(map(int, choices))
        if len(cell) == len(EDGES) and min(cell) >= 0 and max(cell) < len(CELL_OPS):
            return cell
        return super().check(cell)  # says what is wrong

    def resolve(self, choices: Sequence[int]) -> Network:
        cell = self.check(choices)
        return build_network(self.config, cell, self.input_shape, self.num_classes)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        cell = self.check(choices)
        text = cell_to_str(cell)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Architecture(self.digest, cell, digest, label=text)

    def arch_str(self, choices: Sequence[int]) -> str:
        """The benchmark's text for `choices`. Raises InvalidChoices."""
        return cell_to_str(self.check(choices))

    def from_arch_str(self, text: str) -> Choices:
        """Inverse of `arch_str`. Raises InvalidChoices."""
        return cell_from_str(text)

    def function_key(self, choices: Sequence[int]) -> str:
        """Equal for cells that compute the same function up to node order; 4,930 different ones."""
        return function_key(self.check(choices))

    def size(self) -> SpaceSize:
        """Exact: each of the 15,625 cells is an architecture of its own."""
        return SpaceSize(_NUM_CELLS, _NUM_CELLS, _NUM_CELLS)

    def minimum_cost(self, prefix: Sequence[int], block_cost: BlockCost) -> float:
        """Exact, dead edges considered: the minimum over all 15,625 cells, kept by prefix length."""
        self._check_prefix(prefix)
        tables = self._cheapest.get(block_cost, self._cheapest_by_length)
        return float(tables[len(prefix)][tuple(prefix)])

    def minimum_costs(
        self, prefixes: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        for row in prefixes[((prefixes < 0) | (prefixes >= len(CELL_OPS))).any(axis=1)]:
            self._check_prefix(row.tolist())
        tables = self._cheapest.get(block_cost, self._cheapest_by_length)
        cheapest = tables[prefixes.shape[1]][tuple(prefixes.T)]
        return np.broadcast_to(np.asarray(cheapest), (len(prefixes),)).copy()

    def total_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        cells = self._checked_cells(choices)
        complete = self._cheapest.get(block_cost, self._cheapest_by_length)[-1]
        return np.asarray(complete[tuple(cells.T)])

    def block_usage(
        self, choices: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], tuple[Block, ...]]:
        cells = self._checked_cells(choices)
        fixed, cell_blocks = self._additive_blocks
        shape = (len(CELL_OPS),) * len(EDGES)
        counts = _all_cell_counts()[np.ravel_multi_index(tuple(cells.T), shape)]
        in_stages = np.tile(counts * self.config.cells_per_stage, 3)
        usage = np.concatenate([np.ones((len(cells), len(fixed))), in_stages], axis=1)
        return usage, (*fixed, *cell_blocks)

    def _checked_cells(self, choices: NDArray[np.integer]) -> NDArray[np.intp]:
        cells = np.asarray(choices, dtype=np.intp)
        if cells.ndim != 2 or cells.shape[1] != len(EDGES):
            raise InvalidChoices(f"expected choices of shape (n, {len(EDGES)}), got {cells.shape}")
        if ((cells < 0) | (cells >= len(CELL_OPS))).any():
            raise InvalidChoices(f"expected choices in 0–{len(CELL_OPS) - 1}")
        return cells

    def _cheapest_by_length(self, block_cost: BlockCost) -> list[NDArray[np.float64]]:
        """Entry k has shape (5,) * k: the cheapest network of each prefix of k choices."""
        fixed, cell_blocks = self._additive_blocks
        costs = np.array([block_cost(block) for block in cell_blocks], dtype=np.float64)
        constant = math.fsum(block_cost(block) for block in fixed)
        if math.isnan(constant) or np.isnan(costs).any():
            raise ValueError("block_cost gave NaN for a block of this space")
        per_block = costs.reshape(3, -1).sum(axis=0) * self.config.cells_per_stage
        totals = constant + _all_cell_counts() @ per_block  # (15625,)
        table = totals.reshape((len(CELL_OPS),) * len(EDGES))
        tables = [table]
        while table.ndim:
            table = table.min(axis=-1)
            tables.append(table)
        return tables[::-1]

    @cached_property
    def _additive_blocks(self) -> tuple[list[Block], list[Block]]:
        """Blocks that are always there; and the `CellCount` sorts of blocks of each stage, in order."""
        channels, height, width = self.config.channels, *self.input_shape[1:]
        stem = LayerBuilder(self.input_shape.channels, "stem")
        stem.conv(INPUT, channels, kernel=3)
        fixed = [_block(stem, height, width)]
        cell_blocks: list[Block] = []
        for stage in (1, 2, 3):
            if stage > 1:
                reduction = LayerBuilder(channels, "reduction")
                append_reduction(reduction, INPUT)
                fixed.append(_block(reduction, height, width))
                channels, height, width = 2 * channels, height // 2, width // 2
            for name in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "add2", "add3", "zeros"):
                builder = LayerBuilder(channels, name)
                _append_sort(builder, name)
                cell_blocks.append(_block(builder, height, width))
        head = LayerBuilder(channels, "head")
        append_head(head, INPUT, self.num_classes)
        fixed.append(_block(head, height, width))
        return fixed, cell_blocks

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "config": self.config.model_dump(mode="json"),
            "input_shape": self.input_shape._asdict(),
            "num_classes": self.num_classes,
        }


def _append_sort(builder: LayerBuilder, name: str) -> None:
    match name:
        case "add2" | "add3":
            builder.add((INPUT,) * int(name[-1]))
        case "zeros":
            builder.zeros(INPUT)
        case _:
            append_cell_op(builder, name, INPUT)


def _block(builder: LayerBuilder, height: int, width: int) -> Block:
    shape = Shape(builder.channels(INPUT), height, width)
    return Block(name=builder.block, layers=tuple(builder.layers), input_shape=shape)


@cache
def _all_cell_counts() -> NDArray[np.float64]:
    """`CellCount` of every cell; shape (15625, 6), the last edge's choice changing fastest."""
    cells = itertools.product(range(len(CELL_OPS)), repeat=len(EDGES))
    return np.array([count_cell(cell) for cell in cells], dtype=np.float64)
