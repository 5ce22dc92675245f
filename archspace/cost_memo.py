"""Keeps what was computed for the latest few block-cost functions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from archspace.space import BlockCost

T = TypeVar("T")


class CostMemo(Generic[T]):
    """Results by `block_cost`, which must be hashable and must not change what it answers.

    The functions are told apart by equality, because two reads of one bound method are equal, but not the
    same object. Pickled empty: a cost function may not be picklable.
    """

    capacity = 8

    def __init__(self) -> None:
        self._results: OrderedDict[BlockCost, T] = OrderedDict()

    def get(self, block_cost: BlockCost, make: Callable[[BlockCost], T]) -> T:
        """The result kept for `block_cost`, else ``make(block_cost)``; the oldest goes if full."""
        if block_cost not in self._results:
            self._results[block_cost] = make(block_cost)
            while len(self._results) > self.capacity:
                self._results.popitem(last=False)
        return self._results[block_cost]

    def __reduce__(self) -> tuple[type[CostMemo[T]], tuple[()]]:
        return CostMemo, ()
