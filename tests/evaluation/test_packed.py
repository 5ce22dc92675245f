"""Evaluations in little memory: what is read is what was kept, wherever blocks end."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from archspace import Architecture
from evaluation import ChildResult, Evaluation, FailureReason, Fidelity, NetworkCosts
from evaluation.packed import BLOCK, History, PackedEvaluations
from latency_models import Cost

SPACE = "0123456789abcdef"


def evaluation(sequence: int) -> Evaluation:
    """One of five kinds: trained, reduced, failed, rejected, and looked up with a label of its own."""
    rng = np.random.default_rng(sequence)
    kind = sequence % 5
    digest = f"{int(rng.integers(2**62)):016x}"
    costs = [Cost(float(v), 0.1, "predicted") for v in rng.random(4)]
    failed = {"failure": FailureReason.NONFINITE, "message": "loss is NaN"}
    scored = {
        "accuracy": float(rng.random()),
        "exit_thresholds": (0.25,),
        "exit_shares": (0.4, 0.6),
    }
    return Evaluation(
        sequence=sequence,
        architecture=Architecture(
            SPACE, tuple(rng.integers(300, size=8).tolist()), digest, "|a|" if kind == 4 else digest
        ),
        result=None
        if kind == 3
        else ChildResult(digest=digest, train_seconds=1.5, worker="w0", **(failed if kind == 2 else scored)),
        costs=None
        if kind == 4
        else NetworkCosts(
            latency_ms=costs[0], latency_worst_ms=costs[1], energy_mj=costs[2], energy_worst_mj=costs[3],
            num_params=2**40, macs=7, size_bytes=28, model_version=3
        ),
        reward=float(rng.standard_normal()),
        charged=1.0,
        is_new=bool(sequence % 2),
        rejected="latency_ms 3 > 2" if kind == 3 else "",
        fidelity=Fidelity(name="search", epochs=3, cost=0.25) if kind == 1 else None,
    )  # fmt: skip


def packed(count: int) -> tuple[PackedEvaluations, list[Evaluation]]:
    kept, expected = PackedEvaluations(SPACE), [evaluation(i) for i in range(count)]
    for each in expected:
        kept.append(each)
    return kept, expected


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_what_is_read_is_what_was_kept(count: int) -> None:
    kept, expected = packed(count)
    assert len(kept) == count
    assert [kept[i] for i in range(count)] == expected
    assert list(History(kept, count)) == expected


def test_a_history_is_a_sequence() -> None:
    kept, expected = packed(2 * BLOCK + 5)
    history = History(kept, 2 * BLOCK)  # as it was asked for before the last five
    expected = expected[: 2 * BLOCK]
    assert history == expected
    assert history != expected[1:]
    assert history[-1] == expected[-1]
    for part in (slice(None), slice(3, BLOCK + 7), slice(BLOCK, None), slice(None, None, -100)):
        assert history[part] == expected[part]
    with pytest.raises(IndexError):
        history[2 * BLOCK]


def test_those_that_arrived_in_another_order_are_found_by_sequence() -> None:
    kept = PackedEvaluations(SPACE)
    order = np.random.default_rng(0).permutation(BLOCK + 5).tolist()
    expected = [replace(evaluation(number), arrival=place) for place, number in enumerate(order)]
    for each in expected:
        kept.append(each)
    assert list(History(kept, len(kept))) == expected
    by_sequence = sorted(expected, key=lambda each: each.sequence)
    assert [kept.of_sequence(number) for number in range(BLOCK + 5)] == by_sequence


def test_numpy_numbers_become_plain_ones() -> None:
    plain = evaluation(0)
    odd = Evaluation(
        sequence=0, architecture=plain.architecture, result=plain.result, costs=plain.costs,
        reward=np.float64(plain.reward), charged=np.float64(1.0), is_new=np.bool_(plain.is_new)
    )  # fmt: skip
    kept = PackedEvaluations(SPACE)
    for _ in range(BLOCK):
        kept.append(odd)
    assert kept[0] == plain
    assert type(kept[0].reward) is float


def test_an_evaluation_takes_few_bytes() -> None:
    kept = PackedEvaluations(SPACE)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for i in range(20 * BLOCK):
            kept.append(evaluation(i))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / (20 * BLOCK) < 300
