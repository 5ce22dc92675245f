"""Architectures as indices into tables of weights, so that thousands are predicted in one step.

A cost that is a sum over choices needs no matrix of zeros and ones: each architecture is a row of *codes*, and its
cost is the sum of the weights at these codes. Groups of features say which codes share a weight:

| group | one weight for | codes a NAS-Bench-201 cell has |
|---|---|---|
| ``counts`` | an operation, wherever it stands (decisions with the same choices are counted together) | as below |
| ``choices`` | a choice of one decision | 6 |
| ``live counts``, ``live choices`` | likewise, of edges on a path from input to output only (cells) | 6 |
| ``live nodes`` | a node on such a path, the last one meaning that the cell computes anything (cells) | 3 |
| ``pairs`` | two choices together (where that is at most 4,096 pairs) | 15 |
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from archspace import CELL_EDGES, Decision, NasBench201Space, SearchSpace, live_edge_columns

Choices = NDArray[np.integer]
"""(architectures, decisions): the index of each decision's choice."""
Floats = NDArray[np.float64]

_MOST_PAIRS = 4096
_WIDE = 1000  # columns from which a product of matrices is quicker than picking rows
_NODES = tuple(
    tuple(i for i, (_, target) in enumerate(CELL_EDGES) if target == node) for node in (1, 2, 3)
)
"""Edges into each node of a cell but the first."""


class ChoiceEncoding:
    """How the architectures of one space become codes.

    Attributes:
        num_codes: length of a table of weights. The last entry stands for "nothing there" and is always 0.
        groups: name → (num_codes, features) of 0 and 1: which codes a feature counts.
    """

    def __init__(self, space: SearchSpace) -> None:
        decisions = space.decisions
        self._sizes = [len(d.choices) for d in decisions]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        num_choices = int(self._starts[-1])
        self._is_cell = isinstance(space, NasBench201Space)
        self._live_start = num_choices
        used = num_choices
        if self._is_cell:
            self._node_start = 2 * num_choices
            used = self._node_start + len(_NODES)
        self._pairs: list[tuple[int, int, int]] = []
        for a, b in combinations(range(len(decisions)), 2) if self._has_pairs() else ():
            self._pairs.append((a, b, used))
            used += self._sizes[a] * self._sizes[b]
        self.num_codes = used + 1
        self.groups = self._make_groups(decisions, num_choices)

    def _has_pairs(self) -> bool:
        pairs = combinations(self._sizes, 2)
        return sum(a * b for a, b in pairs) <= _MOST_PAIRS

    def _make_groups(self, decisions: Sequence[Decision], num_choices: int) -> dict[str, Floats]:
        """(num_codes, features) each; groups without features are left out."""
        counts = _shared_choices(decisions)
        choices = np.eye(num_choices)
        groups = {"counts": self._placed(counts, 0), "choices": self._placed(choices, 0)}
        if self._is_cell:
            groups["live counts"] = self._placed(counts, self._live_start)
            groups["live choices"] = self._placed(choices, self._live_start)
            groups["live nodes"] = self._placed(np.eye(len(_NODES)), self._node_start)
        if self._pairs:
            start = self._pairs[0][2]
            groups["pairs"] = self._placed(np.eye(self.num_codes - 1 - start), start)
        return {name: features for name, features in groups.items() if features.shape[1]}

    def _placed(self, features: Floats, start: int) -> Floats:
        placed = np.zeros((self.num_codes, features.shape[1]))
        placed[start : start + len(features)] = features
        return placed

    def codes(self, choices: Choices) -> NDArray[np.intp]:
        """(architectures, codes each) indices below `num_codes`.

        Raises:
            ValueError: another number of decisions, or a choice that there is not.
        """
        choices = np.asarray(choices, dtype=np.intp)
        if choices.ndim != 2 or choices.shape[1] != len(self._sizes):
            raise ValueError(
                f"expected choices of shape (architectures, {len(self._sizes)}), got {choices.shape}"
            )
        if len(choices) and not ((choices >= 0) & (choices < self._sizes)).all():
            raise ValueError(f"expected choices below {self._sizes}, got others")
        single = choices + self._starts[:-1]
        columns = [*single.T]
        if self._is_cell:
            live = live_edge_columns(list(choices.T))
            nothing = self.num_codes - 1
            columns += [
                np.where(alive, column + self._live_start, nothing)
                for alive, column in zip(live, single.T, strict=True)
            ]
            for number, edges in enumerate(_NODES):
                reached = np.logical_or.reduce([live[edge] for edge in edges])
                columns.append(np.where(reached, self._node_start + number, nothing))
        columns += [
            start + choices[:, a] * self._sizes[b] + choices[:, b] for a, b, start in self._pairs
        ]
        return np.stack(columns, axis=1)


def _shared_choices(decisions: Sequence[Decision]) -> Floats:
    """(choices of all decisions, counted ones): decisions that offer the same are counted together."""
    offers = [d.choices for d in decisions]
    shared = [offer for offer in dict.fromkeys(offers) if offers.count(offer) > 1]
    columns = {(offer, i): n for n, (offer, i) in enumerate(_entries(shared))}
    rows = list(_entries(offers))
    counts = np.zeros((len(rows), len(columns)))
    for row, entry in enumerate(rows):
        if entry in columns:
            counts[row, columns[entry]] = 1
    return counts


def _entries(offers: Sequence[tuple[object, ...]]) -> list[tuple[tuple[object, ...], int]]:
    return [(offer, i) for offer in offers for i in range(len(offer))]


def summed(table: NDArray[np.floating], codes: NDArray[np.intp]) -> NDArray[np.floating]:
    """Σ table[code] of each architecture: (architectures, …) for a `table` of (num_codes, …)."""
    if table.ndim == 2 and table.shape[1] > _WIDE:
        counts = np.zeros((len(codes), len(table)), dtype=table.dtype)
        np.add.at(counts, (np.arange(len(codes))[:, None], codes), 1)
        return np.asarray(counts @ table)
    total = table[codes[:, 0]]
    for column in codes.T[1:]:
        total += table[column]
    return total
