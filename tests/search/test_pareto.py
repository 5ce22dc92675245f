"""Fronts, picks and hypervolume: small cases by hand, and brute force."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import Evaluation, FailureReason, LimitsConfig
from search.pareto import (
    ParetoArchive,
    Point,
    dominates,
    hypervolume_2d,
    knee,
    nondominated,
    pareto_front,
    picks,
    within_costs,
)
from tests.search.run_samples import make_evaluation

# Few values, so that ties and equal points are common.
POINTS = st.lists(
    st.builds(
        Point,
        st.sampled_from([0.1, 0.5, 0.9, 0.95]),
        st.sampled_from([0.5, 1.0, 2.0, 3.0]),
        st.sampled_from([1.0, 2.0, 3.0]),
    ),
    max_size=12,
)


def evaluations(points: list[Point]) -> list[Evaluation]:
    return [
        make_evaluation(i, point.accuracy, point.latency_ms, point.energy_mj)
        for i, point in enumerate(points)
    ]


def digests(found: list[Evaluation]) -> list[str]:
    return [e.architecture.digest for e in found]


@given(POINTS)
def test_front_is_what_brute_force_finds(points):
    expected = {p for p in points if not any(dominates(other, p) for other in points)}
    found = [points[i] for i in nondominated(points)]
    assert set(found) == expected
    assert len(found) == len(expected), "equal points are kept once"
    assert [p.latency_ms for p in found] == sorted(p.latency_ms for p in found)


@given(POINTS, st.randoms(use_true_random=False))
def test_front_does_not_depend_on_the_order(points, random):
    given_order = evaluations(points)
    shuffled = list(given_order)
    random.shuffle(shuffled)
    assert digests(pareto_front(shuffled)) == digests(pareto_front(given_order))
    if points:
        first, second = picks(given_order).by_name(), picks(shuffled).by_name()
        assert digests(list(first.values())) == digests(list(second.values()))


@given(POINTS)
def test_archive_is_the_front_of_all_that_was_added(points):
    archive = ParetoArchive()
    added = evaluations(points)
    for evaluation in added:
        before = set(digests(list(archive.front)))
        entered = archive.add(evaluation)
        now = set(digests(list(archive.front)))
        assert entered == (evaluation.architecture.digest in now - before)
    assert digests(list(archive.front)) == digests(pareto_front(added))
    assert len(archive) == len(archive.front)


def test_failed_rejected_and_costless_proposals_are_left_out():
    bad = [
        make_evaluation(0, failure=FailureReason.OOM),
        make_evaluation(1, rejected="latency_ms 3 > 2"),
        make_evaluation(2, latency_ms=None),
    ]
    assert pareto_front(bad) == []
    with pytest.raises(ValueError, match="at least one evaluation"):
        picks(bad)


def test_energy_alone_brings_a_network_to_the_front():
    thrifty = make_evaluation(0, 0.8, 2.0, 0.1)
    assert digests(pareto_front([make_evaluation(1, 0.9, 1.0, 1.0), thrifty])) == [
        f"{1:016x}",
        f"{0:016x}",
    ]


def test_picks_by_hand():
    #  (0, 0) and (1, 1) are the ends; heights above their chord: 0.8-0.3, 0.9-0.7
    front = [
        make_evaluation(0, 0.80, 1.0),
        make_evaluation(1, 0.88, 1.3),
        make_evaluation(2, 0.89, 1.7),
        make_evaluation(3, 0.90, 2.0),
    ]
    chosen = picks(front).by_name()
    assert {name: e.sequence for name, e in chosen.items()} == {"best": 3, "knee": 1, "fastest": 0}
    assert list(chosen) == ["best", "knee", "fastest"]


def test_ties_go_to_the_faster_then_the_thriftier_then_the_smaller_digest():
    slower = make_evaluation(0, 0.9, 2.0, 0.5)
    thirsty = make_evaluation(1, 0.9, 1.0, 2.0)
    thrifty = [make_evaluation(2, 0.9, 1.0, 1.0, digest=d) for d in ("b" * 16, "a" * 16)]
    chosen = picks([slower, thirsty, *thrifty])
    assert chosen.best.architecture.digest == "a" * 16
    assert chosen.fastest is chosen.best


@pytest.mark.parametrize("middle", [0.85, 0.83])
def test_knee_of_a_front_that_does_not_bulge_is_the_best(middle):
    front = [
        make_evaluation(0, 0.8, 1.0),
        make_evaluation(1, middle, 1.5),
        make_evaluation(2, 0.9, 2.0),
    ]
    assert knee(front).sequence == 2
    assert knee(front[:1]).sequence == 0
    with pytest.raises(ValueError, match="empty"):
        knee([])


def test_hypervolume_by_hand():
    points = [(0.5, 1.0), (0.8, 2.0), (0.6, 3.0)]
    # 0.5 high over 1..4, then 0.3 more over 2..4; the third is dominated
    assert hypervolume_2d(points, (0.0, 4.0)) == pytest.approx(0.5 * 3 + 0.3 * 2)
    assert hypervolume_2d(points, (0.5, 4.0)) == pytest.approx(0.3 * 2)
    assert hypervolume_2d(points, (0.9, 4.0)) == 0
    assert hypervolume_2d([(0.9, 4.0)], (0.0, 4.0)) == 0
    assert hypervolume_2d([], (0.0, 4.0)) == 0


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), max_size=8))
def test_hypervolume_counts_the_cells_that_are_dominated(cells):
    points = [(accuracy / 10, float(latency)) for accuracy, latency in cells]
    covered = sum(
        any(a >= row + 1 and lat <= column for a, lat in cells)
        for row, column in itertools.product(range(10), range(10))
    )
    assert hypervolume_2d(points, (0.0, 10.0)) == pytest.approx(covered / 10)


def test_within_limits_the_most_accurate_comes_first() -> None:
    rows = [(0.9, 5.0, 1.0), (0.8, 2.0, 1.0), (0.85, 2.0, 9.0), (0.8, 1.0, 1.0)]
    found = evaluations([Point(*row) for row in rows])
    worst = found[1].costs.latency_worst_ms.value  # no exit taken: that is what limits are about
    fast = within_costs(found, LimitsConfig(latency_ms=worst))
    assert [e.accuracy for e in fast] == [0.85, 0.8, 0.8]
    assert fast[1].costs.latency_ms.value == 1.0, "ties: the faster one"
    thrifty = within_costs(found, LimitsConfig(latency_ms=worst, energy_mj=4.0))
    assert [e.accuracy for e in thrifty] == [0.8, 0.8]
    assert within_costs(found, LimitsConfig(latency_ms=0.5)) == []
    assert len(within_costs([*found, *found], LimitsConfig())) == 4
