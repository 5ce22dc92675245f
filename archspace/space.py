"""What a search space is: ordered decisions, masks, and the network that a full set of choices means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from archspace.network import Block, Network

Choice = str | int | float | bool
Choices = tuple[int, ...]
"""One index into each decision's `choices`."""
BlockCost = Callable[[Block], float]


class SpaceError(ValueError):
    """Base of this package's errors.

    SpaceError
    ├── InvalidChoices    choices that the space's masks do not allow
    └── SchemaError       an architecture file that is not one, or from a newer version
    """


class InvalidChoices(SpaceError):
    """Choices of the wrong length, out of range, or masked out."""


class SchemaError(SpaceError):
    """An architecture document that does not fit the published JSON Schema."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing to decide: a dotted `name` (``"stage1.layer0.op"``) and its possible `choices`."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A point of a space.

    `digest` identifies what is built, measured and charged: choices that build the same thing share it.
    `label` is how a person or a table names it (NAS-Bench-201's ``arch_str``), else the digest.
    """

    space_digest: str
    choices: Choices
    digest: str
    label: str


@dataclass(frozen=True, slots=True)
class SpaceSize:
    """How large a space is.

    `sequences` counts valid choice lists exactly. The number of distinct networks lies in
    [`distinct_low`, `distinct_high`]; the two are equal where it is known exactly.
    """

    sequences: int
    distinct_low: int
    distinct_high: int

    @property
    def distinct_is_exact(self) -> bool:
        return self.distinct_low == self.distinct_high


class SearchSpace(ABC):
    """An ordered tuple of decisions.

    Every prefix that `mask` allows can be completed, so nothing needs rejection sampling; a decision that
    earlier choices made irrelevant has exactly one valid choice, so all episodes are equally long.
    """

    kind: ClassVar[str]
    decisions: tuple[Decision, ...]

    @property
    @abstractmethod
    def digest(self) -> str:
        """16 hex digits that identify the space: its kind, settings, input shape and classes."""

    @abstractmethod
    def mask(self, prefix: Sequence[int]) -> NDArray[np.bool_]:
        """Which choices of decision ``len(prefix)`` are valid: bool, shape (number of its choices,).

        Raises:
            InvalidChoices: `prefix` is itself not valid, or already complete.
        """

    def masks(self, prefixes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """`mask` of many prefixes of one length: (prefixes, choices of the next decision) from (prefixes, length).

        Raises:
            InvalidChoices: as `mask`.
        """
        return np.array([self.mask(tuple(row)) for row in prefixes.tolist()], dtype=np.bool_)

    @abstractmethod
    def resolve(self, choices: Sequence[int]) -> Network:
        """The network that complete `choices` build: dead layers gone, names canonical."""

    @abstractmethod
    def architecture(self, choices: Sequence[int]) -> Architecture:
        """`choices`, checked, with their digest. Raises InvalidChoices."""

    @abstractmethod
    def size(self) -> SpaceSize:
        """Exact or bounded, never guessed."""

    @abstractmethod
    def minimum_cost(self, prefix: Sequence[int], block_cost: BlockCost) -> float:
        """Smallest Σ `block_cost` over the blocks of any completion of `prefix`; exact.

        `block_cost` may be negative (so that its negation gives the largest cost) and is assumed to depend
        on the block's signature alone; results are kept per `block_cost` object.
        """

    def minimum_costs(
        self, prefixes: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """`minimum_cost` of many prefixes of one length: (prefixes,) from (prefixes, length)."""
        rows = prefixes.tolist()
        return np.array([self.minimum_cost(tuple(row), block_cost) for row in rows])

    @abstractmethod
    def total_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """Σ `block_cost` over the blocks of each architecture: (architectures,), for thousands at once.

        Args:
            choices: (architectures, decisions) indices, complete.
            block_cost: as in `minimum_cost`.

        Raises:
            InvalidChoices: choices that the masks do not allow.
        """

    def head_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """Σ `block_cost` over what is computed up to each head: (architectures, heads), for thousands at once.

        Heads stand in the order in which the forward pass reaches them, earlier heads' own costs included; NaN where an
        architecture has fewer. Arguments and errors are those of `total_costs`.
        """
        return self.total_costs(choices, block_cost)[:, None]

    @abstractmethod
    def block_usage(
        self, choices: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], tuple[Block, ...]]:
        """What many architectures are built of, for sums of several things over their blocks at once.

        Args:
            choices: (architectures, decisions) indices, complete.

        Returns:
            (architectures, blocks) how often each holds each block, and the blocks: the same ones for any choices.

        Raises:
            InvalidChoices: choices that the masks do not allow.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON-ready description from which the same space can be made again."""

    def check(self, choices: Sequence[int]) -> Choices:
        """`choices` as a tuple if complete and valid. Raises InvalidChoices, naming the decision."""
        checked = tuple(int(choice) for choice in choices)
        if len(checked) != len(self.decisions):
            raise InvalidChoices(
                f"expected {len(self.decisions)} choices, one a decision, got {len(checked)}"
            )
        for position, choice in enumerate(checked):
            valid = self.mask(checked[:position])
            if not 0 <= choice < len(valid) or not valid[choice]:
                decision = self.decisions[position]
                allowed = [c for c, ok in zip(decision.choices, valid, strict=True) if ok]
                raise InvalidChoices(
                    f"{decision.name}: choice {choice} is not valid here; valid: {allowed}"
                )
        return checked

    def named(self, choices: Sequence[int]) -> dict[str, Choice]:
        """Decision name → chosen value."""
        return {
            decision.name: decision.choices[choice]
            for decision, choice in zip(self.decisions, choices, strict=True)
        }

    def from_named(self, named: Mapping[str, Choice]) -> Choices:
        """Inverse of `named`. Raises InvalidChoices: other decisions, or a value that is none of its choices."""
        names = [decision.name for decision in self.decisions]
        if set(named) != set(names):
            raise InvalidChoices(f"expected the decisions {names}, got {sorted(named)}")
        for decision in self.decisions:
            if named[decision.name] not in decision.choices:
                raise InvalidChoices(
                    f"{decision.name}: {named[decision.name]!r} is none of {list(decision.choices)}"
                )
        return self.check([d.choices.index(named[d.name]) for d in self.decisions])

    def sample(self, rng: np.random.Generator) -> Choices:
        """A random point: each decision uniform over its valid choices (not uniform over networks)."""
        return self.complete((), lambda prefix, valid: int(rng.choice(valid)))

    def sample_many(self, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """`count` points drawn as `sample` draws one: (count, decisions)."""
        choices = np.empty((count, len(self.decisions)), dtype=np.intp)
        for position in range(len(self.decisions)):
            valid = self.masks(choices[:, :position])
            luck = rng.random(valid.shape)
            choices[:, position] = np.where(valid, luck, -1.0).argmax(axis=1)
        return choices

    def complete(
        self, prefix: Sequence[int], pick: Callable[[Choices, NDArray[np.intp]], int]
    ) -> Choices:
        """Extend `prefix` to a full point; `pick(prefix, valid_indices)` makes each choice."""
        choices = tuple(prefix)
        while len(choices) < len(self.decisions):
            choices = (*choices, pick(choices, np.flatnonzero(self.mask(choices))))
        return choices

    def mutate(self, choices: Sequence[int], rng: np.random.Generator) -> Choices:
        """One decision changed at random among those that can change; later ones kept where still valid."""
        free = [i for i in range(len(self.decisions)) if self.mask(choices[:i]).sum() > 1]
        if not free:
            return tuple(choices)
        position = int(rng.choice(free))
        valid = np.flatnonzero(self.mask(choices[:position]))
        value = int(rng.choice(valid[valid != choices[position]]))
        return self._repaired(choices, position, value, rng)

    def neighbours(self, choices: Sequence[int]) -> Iterator[Choices]:
        """All points one changed decision away, in order; later decisions repaired to the first valid."""
        for position in range(len(self.decisions)):
            for value in np.flatnonzero(self.mask(choices[:position])):
                if value != choices[position]:
                    yield self._repaired(choices, position, int(value), None)

    def _repaired(
        self, choices: Sequence[int], position: int, value: int, rng: np.random.Generator | None
    ) -> Choices:
        def keep(prefix: Choices, valid: NDArray[np.intp]) -> int:
            old = choices[len(prefix)]
            if old in valid:
                return int(old)
            return int(valid[0] if rng is None else rng.choice(valid))

        return self.complete((*choices[:position], value), keep)

    def cheapest(self, block_cost: BlockCost, prefix: Sequence[int] = ()) -> Choices:
        """The completion of `prefix` with the smallest additive cost; ties go to the first choice."""

        def pick(partial: Choices, valid: NDArray[np.intp]) -> int:
            costs = [self.minimum_cost((*partial, int(v)), block_cost) for v in valid]
            return int(valid[int(np.argmin(costs))])

        return self.complete(prefix, pick)

    def encode(self, choices: Sequence[int]) -> NDArray[np.float32]:
        """One-hot over all decisions; float32, shape (Σ number of choices,), entries 0 or 1."""
        width = sum(len(decision.choices) for decision in self.decisions)
        code = np.zeros(width, dtype=np.float32)
        start = 0
        for decision, choice in zip(self.decisions, choices, strict=True):
            code[start + choice] = 1.0
            start += len(decision.choices)
        return code
