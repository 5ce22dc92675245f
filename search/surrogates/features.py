"""What an accuracy surrogate knows of an architecture: groups of numbers, thousands of architectures at once.

Accuracy depends on what a network computes, not on how it was written down, so the features are those of the
resolved network: a dead edge of a cell counts as none, and what is not built is not counted.

| group | what | spaces |
|---|---|---|
| ``choices`` | one-hot of each decision; of a cell, of its live edges only | all |
| ``literal`` | one-hot of each edge, dead ones too: for what depends on how a cell was written down, such as its latency (if asked for) | cells |
| ``sizes`` | logarithms of multiply-accumulates, weights and number of layers | all |
| ``layers`` | how many layers there are of each kind | all |
| ``bits`` | how many parameters, in thousands, are in layers of each number of bits below 32 | those with such bits |
| ``paths`` | how often each sequence of operations leads from a cell's input to its output, skip connections left out (path encoding: White et al., "BANANAS", AAAI 2021, section 4) | cells |

Each group is scaled so that two random architectures are at a mean squared distance of 1 in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from archspace import (
    CELL_EDGES,
    CELL_OPS,
    INT8_BITS,
    Block,
    NasBench201Space,
    SearchSpace,
    live_edge_columns,
)
from child_models import layer_counts
from latency_models import block_features
from latency_models.features import FLOAT_FEATURES

Floats = NDArray[np.float64]
Choices = NDArray[np.integer]
"""(architectures, decisions): the index of each decision's choice."""

SCALING_SAMPLES = 256
_NONE = CELL_OPS.index("none")
_INNER_OPS = tuple(i for i, op in enumerate(CELL_OPS) if op not in ("none", "skip_connect"))
_SEQUENCES = {
    sequence: number
    for number, sequence in enumerate(
        sequence for length in range(4) for sequence in product(_INNER_OPS, repeat=length)
    )
}


def _paths(node: int = 0) -> list[tuple[int, ...]]:
    """A cell's paths from `node` to its output, as numbers of edges."""
    if node == 3:
        return [()]
    return [
        (number, *rest)
        for number, (source, target) in enumerate(CELL_EDGES)
        if source == node
        for rest in _paths(target)
    ]


_PATHS = tuple(_paths())


class ArchitectureFeatures:
    """Features of one space's architectures.

    Args:
        space: whose architectures are described.
        seed: of the architectures that tell how groups are scaled.
        literal: with that group.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, *, literal: bool = False) -> None:
        self._space = space
        self._literal = literal
        self._sizes = [len(decision.choices) for decision in space.decisions]
        self._block_features: Floats | None = None
        self._block_bits: Floats | None = None
        self._is_cell = isinstance(space, NasBench201Space)
        self._scales: dict[str, float] = {}
        rng = np.random.default_rng(seed)
        sample = np.array([space.sample(rng) for _ in range(SCALING_SAMPLES)])
        for name, values in self._raw(sample).items():
            spread = float(values.var(axis=0).sum())
            if spread > 0:
                self._scales[name] = 1 / np.sqrt(2 * spread)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that vary in this space."""
        return tuple(self._scales)

    def __call__(self, choices: Choices | Sequence[Sequence[int]]) -> dict[str, Floats]:
        """Group → (architectures, features)."""
        raw = self._raw(np.asarray(choices, dtype=np.intp))
        return {name: scale * raw[name] for name, scale in self._scales.items()}

    def _raw(self, choices: Choices) -> dict[str, Floats]:
        usage, blocks = self._space.block_usage(choices)
        if self._block_features is None or self._block_bits is None:
            # of what is trained; how many bits it is stored in, `bits` says
            features = np.array([block_features(block.with_bits(32)) for block in blocks])
            self._block_features = features[:, : len(FLOAT_FEATURES)]
            self._block_bits = np.array([_params_by_bits(block) for block in blocks])
        sums = dict(zip(FLOAT_FEATURES, (usage @ self._block_features).T, strict=True))
        sizes = [
            sum(values for name, values in sums.items() if name.endswith(ending))
            for ending in (".mmacs", ".weight_kb", ".layers")
        ]
        kinds = [values for name, values in sums.items() if name.endswith(".layers")]
        groups = {
            "choices": self._one_hot(choices),
            "sizes": np.log(1e-3 + np.stack([np.asarray(size) for size in sizes], axis=1)),
            "layers": np.stack(kinds, axis=1),
            "bits": usage @ self._block_bits,
        }
        if self._is_cell:
            groups["paths"] = path_counts(choices)
            if self._literal:
                groups["literal"] = np.concatenate(self._one_hots(choices), axis=1)
        return groups

    def _one_hots(self, choices: Choices) -> list[Floats]:
        """One a decision."""
        return [np.eye(size)[column] for size, column in zip(self._sizes, choices.T, strict=True)]

    def _one_hot(self, choices: Choices) -> Floats:
        columns = self._one_hots(choices)
        if self._is_cell:
            live = live_edge_columns(list(choices.T))
            columns = [column * alive[:, None] for column, alive in zip(columns, live, strict=True)]
        return np.concatenate(columns, axis=1)


def _params_by_bits(block: Block) -> Floats:
    """(8,): thousands of parameters in layers of 1, 2 … 8 bits."""
    values = np.zeros(INT8_BITS)
    for layer, count in zip(block.layers, layer_counts(block.as_network()), strict=True):
        if layer.bits <= INT8_BITS:
            values[layer.bits - 1] += count.params / 1e3
    return values


def path_counts(cells: Choices) -> Floats:
    """(cells, sequences): how many of a cell's paths from input to output do each sequence of operations."""
    counts = np.zeros((len(cells), len(_SEQUENCES)))
    for row, cell in zip(counts, cells.tolist(), strict=True):
        for path in _PATHS:
            ops = [cell[edge] for edge in path]
            if _NONE not in ops:
                row[_SEQUENCES[tuple(op for op in ops if op in _INNER_OPS)]] += 1
    return counts
