"""Evaluations in a tenth of their memory: a controller keeps all that its search has ever had.

As objects an evaluation takes 2 KB of the process. All but the latest are kept as blocks: plain values, marshalled and compressed.
"""

from __future__ import annotations

import marshal  # of this process's own values, in its own memory: nothing is ever read from a file
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from archspace import Architecture
from evaluation.results import ChildResult, Evaluation, FailureReason, Fidelity, NetworkCosts
from latency_models import Cost

BLOCK = 256
"""Evaluations a block: large enough that what they share is kept once, and one of them is found in half a millisecond."""


class PackedEvaluations:
    """A list that grows at its end.

    What is read is equal to what was appended, and need not be the same object.

    Args:
        space_digest: of the architectures, which is one for all.
    """

    def __init__(self, space_digest: str) -> None:
        self._space_digest = space_digest
        self._fidelities: list[Fidelity] = []  # few: blocks have their numbers
        self._blocks: list[bytes] = []
        self._latest: list[Evaluation] = []
        self._unpacked: tuple[int, list[Evaluation]] = (-1, [])  # the block read last
        self._places: dict[int, int] = {}  # of sequences that are not at their own place

    def __len__(self) -> int:
        return len(self._blocks) * BLOCK + len(self._latest)

    def append(self, evaluation: Evaluation) -> None:
        if evaluation.sequence != len(self):
            self._places[evaluation.sequence] = len(self)
        self._latest.append(evaluation)
        if len(self._latest) == BLOCK:
            rows = [self._row(each) for each in self._latest]
            self._blocks.append(zlib.compress(marshal.dumps(rows), level=1))
            self._latest = []

    def __getitem__(self, index: int) -> Evaluation:
        """`index` from 0 on."""
        block, place = divmod(index, BLOCK)
        return self._block(block)[place]

    def of_sequence(self, sequence: int) -> Evaluation:
        """The one with this number, which must be in it."""
        return self[self._places.get(sequence, sequence)]

    def between(self, first: int, end: int) -> Iterator[Evaluation]:
        """Those from `first` on that come before `end`, which is at most the length."""
        while first < end:
            block, place = divmod(first, BLOCK)
            until = min(BLOCK, place + end - first)
            yield from self._block(block)[place:until]
            first += until - place

    def _block(self, number: int) -> list[Evaluation]:
        if number == len(self._blocks):
            return self._latest
        if self._unpacked[0] != number:
            rows = marshal.loads(zlib.decompress(self._blocks[number]))
            self._unpacked = number, [self._evaluation(row) for row in rows]
        return self._unpacked[1]

    def _row(self, e: Evaluation) -> tuple[Any, ...]:
        """Plain values: marshal takes NumPy's numbers for bytes."""
        architecture = e.architecture
        label = architecture.label
        return (
            int(e.sequence),
            tuple(int(choice) for choice in architecture.choices),
            architecture.digest,
            None if label == architecture.digest else label,
            None if e.result is None else _result_row(e.result, architecture.digest),
            None if e.costs is None else _costs_row(e.costs),
            float(e.reward),
            float(e.charged),
            bool(e.is_new),
            e.rejected,
            None if e.fidelity is None else self._number(e.fidelity),
            None if e.arrival is None else int(e.arrival),
        )

    def _number(self, fidelity: Fidelity) -> int:
        if fidelity not in self._fidelities:
            self._fidelities.append(fidelity)
        return self._fidelities.index(fidelity)

    def _evaluation(self, row: tuple[Any, ...]) -> Evaluation:
        sequence, choices, digest, label, result, costs, reward, charged, is_new, *rest = row
        rejected, fidelity, arrival = rest
        return Evaluation(
            sequence=sequence,
            architecture=Architecture(self._space_digest, choices, digest, label or digest),
            result=None if result is None else _result(digest, result),
            costs=None if costs is None else _costs(costs),
            reward=reward,
            charged=charged,
            is_new=is_new,
            rejected=rejected,
            fidelity=None if fidelity is None else self._fidelities[fidelity],
            arrival=arrival,
        )


class History(Sequence[Evaluation]):
    """The first `length` of `packed`: what a session had handed back when it was asked."""

    def __init__(self, packed: PackedEvaluations, length: int) -> None:
        self._packed = packed
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Evaluation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Evaluation]: ...
    def __getitem__(self, index: int | slice) -> Evaluation | list[Evaluation]:
        if isinstance(index, slice):
            numbers = range(self._length)[index]
            if numbers.step == 1:
                return list(self._packed.between(numbers.start, numbers.stop))
            return [self._packed[i] for i in numbers]
        return self._packed[range(self._length)[index]]

    def __iter__(self) -> Iterator[Evaluation]:
        return self._packed.between(0, self._length)

    def __eq__(self, other: object) -> bool:
        """With any sequence of evaluations, as lists are."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"History({list(self)!r})"


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _optional(value: float | None) -> float | None:
    return None if value is None else float(value)


def _result_row(result: ChildResult, digest: str) -> tuple[Any, ...]:
    """`digest`: the architecture's, which is its child's, too."""
    return (
        None if result.digest == digest else result.digest,
        None if result.failure is None else result.failure.value,
        result.message,
        _optional(result.accuracy),
        _optional(result.accuracy_no_exit),
        _floats(result.exit_thresholds),
        _floats(result.exit_shares),
        float(result.train_seconds),
        result.worker,
    )


def _result(digest: str, row: tuple[Any, ...]) -> ChildResult:
    own, failure, message, accuracy, no_exit, thresholds, shares, seconds, worker = row
    return ChildResult(
        digest=own or digest,
        failure=None if failure is None else FailureReason(failure),
        message=message,
        accuracy=accuracy,
        accuracy_no_exit=no_exit,
        exit_thresholds=thresholds,
        exit_shares=shares,
        train_seconds=seconds,
        worker=worker,
    )


def _costs_row(costs: NetworkCosts) -> tuple[Any, ...]:
    cost = (costs.latency_ms, costs.latency_worst_ms, costs.energy_mj, costs.energy_worst_mj)
    counts = (costs.num_params, costs.macs, costs.size_bytes, costs.model_version)
    return (
        tuple((float(each.value), float(each.std), each.source) for each in cost),
        tuple(int(count) for count in counts),
    )


def _costs(row: tuple[Any, ...]) -> NetworkCosts:
    latency, latency_worst, energy, energy_worst = (Cost(*cost) for cost in row[0])
    num_params, macs, size_bytes, model_version = row[1]
    return NetworkCosts(
        latency_ms=latency,
        latency_worst_ms=latency_worst,
        energy_mj=energy,
        energy_worst_mj=energy_worst,
        num_params=num_params,
        macs=macs,
        size_bytes=size_bytes,
        model_version=model_version,
    )
