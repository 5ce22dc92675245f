"""A search space as a graph: walks are choice lists, and the steps of a walk give blocks.

All questions about such a space (masks, number of walks, number of distinct networks, cheapest completion) are
then short dynamic programs over its nodes, exact and independent of what the decisions mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archspace.chain import is_head
from archspace.cost_memo import CostMemo
from archspace.network import Block
from archspace.space import BlockCost, InvalidChoices

NOTHING = -1
"""Stands for "no such step" among successors and for "no block" among blocks."""


class Step(NamedTuple):
    """Where one choice leads: the state before the next decision, and the block it adds, if any."""

    state: Hashable
    block: Block | None = None


Expand = Callable[[int, Hashable], Sequence[Step | None]]
"""(position of the decision, state before it) → one step a choice; None where the choice is not valid."""


@dataclass(frozen=True)
class _CostTable:
    steps: list[tuple[float, ...]]  # by node, then choice: cost of the step's block
    to_go: list[float]  # by node: cheapest completion

    @cached_property
    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`steps`, filled up with zeros, and `to_go`."""
        steps = np.zeros((len(self.steps), max(map(len, self.steps))))
        for row, costs in zip(steps, self.steps, strict=True):
            row[: len(costs)] = costs
        return steps, np.array(self.to_go)


class DecisionGraph:
    """States before each decision, merged where equal, reached from one start.

    Args:
        names: the decisions' names, for messages.
        start: state before the first decision.
        opening: block that every network starts with; None where the first decision gives it.
        expand: the steps out of a state.
        ending: the block that a complete walk ends with, if any.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        start: Hashable,
        opening: Block | None,
        expand: Expand,
        ending: Callable[[Hashable], Block | None],
    ) -> None:
        self._names = tuple(names)
        self.blocks: list[Block] = []
        """The blocks that can occur, each once, told apart by signature."""
        self._block_ids: dict[str, int] = {}
        self._opening = self._block_id(opening)
        self._next: list[tuple[int, ...]] = []
        self._step_blocks: list[tuple[int, ...]] = []
        last = self._explore(start, expand)
        self._first_end = len(self._next)
        self._end_blocks = [self._block_id(ending(state)) for state in last]
        self._cost_tables = CostMemo[_CostTable]()
        self._block_costs = CostMemo[NDArray[np.float64]]()
        self._tables: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None

    def _explore(self, start: Hashable, expand: Expand) -> list[Hashable]:
        """Number the states level by level (so that steps lead to higher numbers); gives the last level."""
        level: list[Hashable] = [start]
        for position in range(len(self._names)):
            first_of_next = len(self._next) + len(level)
            numbers: dict[Hashable, int] = {}
            for state in level:
                steps = expand(position, state)
                assert any(steps), f"{self._names[position]}: no valid choice in state {state}"
                self._next.append(
                    tuple(
                        numbers.setdefault(step.state, first_of_next + len(numbers))
                        if step
                        else NOTHING
                        for step in steps
                    )
                )
                self._step_blocks.append(
                    tuple(self._block_id(step.block if step else None) for step in steps)
                )
            level = list(numbers)
        return level

    def _block_id(self, block: Block | None) -> int:
        if block is None:
            return NOTHING
        number = self._block_ids.setdefault(block.signature, len(self.blocks))
        if number == len(self.blocks):
            self.blocks.append(block)
        return number

    def valid(self, prefix: Sequence[int]) -> list[bool]:
        """Which choices of the next decision are valid. Raises InvalidChoices."""
        node = self._walk(prefix)[-1]
        if node >= self._first_end:
            raise InvalidChoices(f"all {len(prefix)} decisions are made; there is no next one")
        return [successor != NOTHING for successor in self._next[node]]

    def valid_many(self, prefixes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """`valid` of many prefixes of one length: (prefixes, choices), False where a decision has fewer."""
        if prefixes.shape[1] == len(self._names):
            raise InvalidChoices(f"all {len(self._names)} decisions are made; there is no next one")
        *_, (reached, _) = self._steps(prefixes)
        return np.asarray(self._step_tables()[0][reached] != NOTHING)

    def word(self, choices: Sequence[int]) -> list[Block]:
        """The blocks of the network that complete, valid `choices` build, in order."""
        nodes = self._walk(choices)
        if nodes[-1] < self._first_end:
            raise InvalidChoices(f"expected {len(self._names)} choices, got {len(choices)}")
        ids = [self._opening]
        ids += [
            self._step_blocks[node][choice] for node, choice in zip(nodes, choices, strict=False)
        ]
        ids.append(self._end_blocks[nodes[-1] - self._first_end])
        return [self.blocks[i] for i in ids if i != NOTHING]

    def _walk(self, prefix: Sequence[int]) -> list[int]:
        if len(prefix) > len(self._names):
            raise InvalidChoices(f"expected at most {len(self._names)} choices, got {len(prefix)}")
        node, nodes = 0, [0]
        for position, choice in enumerate(prefix):
            successors = self._next[node]
            if not 0 <= choice < len(successors) or successors[choice] == NOTHING:
                allowed = [i for i, successor in enumerate(successors) if successor != NOTHING]
                raise InvalidChoices(
                    f"{self._names[position]}: choice {choice} is not valid here; "
                    f"valid indices: {allowed}"
                )
            node = successors[choice]
            nodes.append(node)
        return nodes

    def count_walks(self) -> int:
        """How many complete choice lists there are."""
        walks = [0] * self._first_end + [1] * len(self._end_blocks)
        for node in reversed(range(self._first_end)):
            walks[node] = sum(walks[s] for s in self._next[node] if s != NOTHING)
        return walks[0]

    def count_words(self) -> int:
        """How many different block sequences the walks give.

        The graph, its steps labelled by their blocks, is a nondeterministic automaton; the words are counted
        on its determinised form (subset construction; Hopcroft, Motwani and Ullman, section 2.3.5). For
        staged spaces the sets stay few: the last block fixes the channels, so they differ in position only.
        """
        after = self._after_each_block()
        counts: dict[frozenset[int], int] = {}

        def count(nodes: frozenset[int]) -> int:
            if nodes not in counts:
                targets: dict[int, set[int]] = {}
                for node in nodes:
                    for block, target in after[node]:
                        targets.setdefault(block, set()).add(target)
                accepts = targets.pop(NOTHING, None) is not None
                counts[nodes] = accepts + sum(count(frozenset(t)) for t in targets.values())
            return counts[nodes]

        return count(frozenset([0]))

    def _after_each_block(self) -> list[set[tuple[int, int]]]:
        """By node: (next block given, node after it), and (NOTHING, NOTHING) if the word may end here."""
        finished = self._first_end + len(self._end_blocks)
        after: list[set[tuple[int, int]]] = [set() for _ in range(finished + 1)]
        after[finished].add((NOTHING, NOTHING))
        for end, block in enumerate(self._end_blocks):
            after[self._first_end + end].add((block, finished if block != NOTHING else NOTHING))
        for node in reversed(range(self._first_end)):
            steps = zip(self._next[node], self._step_blocks[node], strict=True)
            for successor, block in steps:
                if successor != NOTHING and block != NOTHING:
                    after[node].add((block, successor))
                elif successor != NOTHING:
                    after[node] |= after[successor]
        return after

    def minimum_cost(self, prefix: Sequence[int], block_cost: BlockCost) -> float:
        """Smallest Σ `block_cost` over the words of all completions of `prefix`."""
        table = self._cost_tables.get(block_cost, self._cost_table)
        nodes = self._walk(prefix)
        made = sum(table.steps[node][choice] for node, choice in zip(nodes, prefix, strict=False))
        return made + table.to_go[nodes[-1]]

    def minimum_costs(
        self, prefixes: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """`minimum_cost` of many prefixes of one length. Raises InvalidChoices, as `_steps`."""
        steps, to_go = self._cost_tables.get(block_cost, self._cost_table).arrays
        reached = [nodes for nodes, _ in self._steps(prefixes)]
        made = np.zeros(len(prefixes))
        for nodes, column in zip(reached, prefixes.T, strict=False):
            made += steps[nodes, column]
        return np.asarray(made + to_go[reached[-1]])

    def head_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """See `SearchSpace.head_costs`. Raises InvalidChoices, as `_walked`."""
        costs = self._block_costs.get(block_cost, self._costs_of_blocks)
        heads = np.array([*map(is_head, self.blocks), False])
        made, count = np.zeros(len(choices)), np.zeros(len(choices), dtype=np.intp)
        found = np.full((len(choices), len(self._names) + 1), math.nan)
        for taken in self._walked(choices):
            made += costs[taken]
            here = heads[taken]
            found[here, count[here]] = made[here]
            count += here
        return found[:, : int(count.max(initial=1))]

    def total_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """Σ `block_cost` over the words of complete walks. Raises InvalidChoices, as `_walked`."""
        costs = self._block_costs.get(block_cost, self._costs_of_blocks)
        totals = np.zeros(len(choices))
        for taken in self._walked(choices):
            totals += costs[taken]
        return totals

    def block_usage(self, choices: NDArray[np.integer]) -> NDArray[np.float64]:
        """(walks, blocks): how often each word holds each block. Raises InvalidChoices, as `_walked`."""
        usage = np.zeros((len(choices), len(self.blocks) + 1))  # [NOTHING] is the last
        rows = np.arange(len(choices))
        for taken in self._walked(choices):
            usage[rows, taken] += 1
        return usage[:, :-1]

    def _costs_of_blocks(self, block_cost: BlockCost) -> NDArray[np.float64]:
        """By number of the block; [NOTHING] is 0."""
        return np.array([*(block_cost(block) for block in self.blocks), 0.0])

    def _walked(self, choices: NDArray[np.integer]) -> Iterator[NDArray[np.intp]]:
        """Blocks (walks,) that complete walks give, step by step, NOTHING where a step gives none.

        Raises InvalidChoices: another number of decisions, or as `_steps`.
        """
        if np.ndim(choices) != 2 or np.shape(choices)[1] != len(self._names):
            raise InvalidChoices(
                f"expected choices of shape (n, {len(self._names)}), got {np.shape(choices)}"
            )
        nodes = np.zeros(len(choices), dtype=np.intp)
        for reached, taken in self._steps(choices):
            nodes = reached
            yield taken
        yield np.array(self._end_blocks)[nodes - self._first_end]

    def _steps(
        self, prefixes: NDArray[np.integer]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """(nodes, blocks given on the way there), (walks,) each, at the start and after each step.

        All walks take each step together. Raises InvalidChoices: too many decisions, or a step that there is not.
        """
        rows = np.asarray(prefixes, dtype=np.intp)
        if rows.ndim != 2 or rows.shape[1] > len(self._names):
            raise InvalidChoices(
                f"expected choices of shape (n, {len(self._names)} or fewer), got {rows.shape}"
            )
        successors, blocks = self._step_tables()
        if ((rows < 0) | (rows >= successors.shape[1])).any():
            raise InvalidChoices(f"expected choices in 0–{successors.shape[1] - 1}")
        nodes = np.zeros(len(rows), dtype=np.intp)
        yield nodes, np.full(len(rows), self._opening)
        for name, column in zip(self._names, rows.T, strict=False):
            taken = blocks[nodes, column]
            nodes = successors[nodes, column]
            if (nodes == NOTHING).any():
                row = int(np.argmax(nodes == NOTHING))
                raise InvalidChoices(
                    f"{name}: choice {column[row]} of row {row} is not valid there"
                )
            yield nodes, taken

    def _step_tables(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(successors, blocks) by node and choice; NOTHING where a node has fewer choices."""
        if self._tables is None:
            shape = (self._first_end, max(map(len, self._next)))
            successors, blocks = np.full(shape, NOTHING), np.full(shape, NOTHING)
            for node, (after, given) in enumerate(zip(self._next, self._step_blocks, strict=True)):
                successors[node, : len(after)] = after
                blocks[node, : len(given)] = given
            self._tables = successors, blocks
        return self._tables

    def _cost_table(self, block_cost: BlockCost) -> _CostTable:
        costs = [float(block_cost(block)) for block in self.blocks]
        for block, cost in zip(self.blocks, costs, strict=True):
            if math.isnan(cost):
                raise ValueError(f"block_cost gave NaN for block {block.name} ({block.signature})")
        costs.append(0.0)  # costs[NOTHING]
        steps = [tuple(costs[i] for i in ids) for ids in self._step_blocks]
        to_go = [0.0] * self._first_end + [costs[i] for i in self._end_blocks]
        for node in reversed(range(self._first_end)):
            to_go[node] = min(
                step + to_go[successor]
                for successor, step in zip(self._next[node], steps[node], strict=True)
                if successor != NOTHING
            )
        opening = costs[self._opening]
        to_go[0] += opening
        steps[0] = tuple(step + opening for step in steps[0])
        return _CostTable(steps, to_go)
