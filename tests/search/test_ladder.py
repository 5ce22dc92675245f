"""Who climbs, against small cases worked out by hand and against the rule itself."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from search.ladder import Ladder, Promotion, Score


def ladder(scores: dict[str, Score | None], rungs: int = 3, reduction: float = 3) -> Ladder:
    made = Ladder([reduction] * (rungs - 1))
    for child, score in scores.items():
        made.add(child, 0, score)
    return made


def test_nobody_climbs_before_there_are_enough_to_compare() -> None:
    assert ladder({}).promote() is None
    assert ladder({"a": (0.9,), "b": (0.1,)}).promote() is None


def test_the_best_of_three_climbs_once() -> None:
    three = ladder({"a": (0.1,), "b": (0.9,), "c": (0.5,)})
    assert three.promote() == Promotion("b", 1)
    assert three.promote() is None


def test_one_that_was_overtaken_before_it_climbed_may_climb_later() -> None:
    made = ladder({"a": (0.1,), "b": (0.5,), "c": (0.2,)})
    made.add("d", 0, (0.9,))
    assert made.promote() == Promotion("d", 1)
    assert made.promote() is None
    for name in "ef":
        made.add(name, 0, (0.0,))
    assert made.promote() == Promotion("b", 1)  # second of six


def test_the_highest_rung_comes_first() -> None:
    made = ladder({name: (float(i),) for i, name in enumerate("abcdefghi")})
    assert [made.promote() for _ in range(4)] == [
        Promotion("i", 1),
        Promotion("h", 1),
        Promotion("g", 1),
        None,
    ]
    for name, score in (("i", 0.1), ("h", 0.3), ("g", 0.2)):
        made.add(name, 1, (score,))
    for name in "jkl":
        made.add(name, 0, (20.0,))
    assert made.promote() == Promotion("h", 2)
    assert made.promote() == Promotion("j", 1)
    made.add("h", 2, (0.5,))
    assert made.promote() is None, "nobody climbs above the top"


def test_no_more_climb_than_one_in_so_many_however_good_new_ones_are() -> None:
    """Each child is better than all before it, so each is the best third when it comes."""
    made = ladder({})
    climbed = []
    for number in range(9):
        made.add(str(number), 0, (float(number),))
        if (promotion := made.promote()) is not None:
            climbed.append(promotion.child)
    assert climbed == ["2", "5", "8"]


def test_those_that_were_taken_further_already_do_not_count_as_climbs() -> None:
    made = ladder({"a": (0.9,), "b": (0.8,), "c": (0.1,), "d": (0.1,), "e": (0.1,), "f": (0.1,)})
    made.skip("a", 0)
    assert made.promote() == Promotion("b", 1)


def test_ties_go_to_the_next_place_and_then_to_who_came_first() -> None:
    made = ladder({"a": (0.0, 0.1), "b": (0.0, 0.7), "c": (0.0, 0.7)})
    assert made.promote() == Promotion("b", 1)


def test_failed_children_count_and_never_climb() -> None:
    made = ladder({"a": None, "b": None, "c": None})
    assert made.promote() is None
    assert ladder({"a": None, "b": (-5.0,), "c": None}).promote() == Promotion("b", 1)


def test_a_reduction_that_is_no_whole_number() -> None:
    made = ladder({"a": (3.0,), "b": (2.0,), "c": (1.0,)}, reduction=1.5)
    assert [made.promote(), made.promote(), made.promote()] == [
        Promotion("a", 1),
        Promotion("b", 1),
        None,
    ]


@given(
    scores=st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=60),
    reduction=st.sampled_from([1.5, 2.0, 3.0, 4.0]),
    rungs=st.integers(1, 4),
    greedy=st.booleans(),
)
def test_the_rule_holds_whenever_children_are_asked_for(
    scores: list[int | None], reduction: float, rungs: int, greedy: bool
) -> None:
    made = Ladder([reduction] * (rungs - 1))
    at: list[dict[str, Score | None]] = [{} for _ in range(rungs)]
    climbed: list[set[str]] = [set() for _ in range(rungs)]

    def enter(child: str, rung: int, score: int | None) -> None:
        value = None if score is None else (float(score),)
        made.add(child, rung, value)
        at[rung][child] = value

    def climb() -> bool:
        promotion = made.promote()
        if promotion is None:
            return False
        below = promotion.rung - 1
        own = at[below][promotion.child]
        assert own is not None, "a failed child climbed"
        assert promotion.child not in climbed[below], "a child climbed twice"
        assert len(climbed[below]) < math.floor(len(at[below]) / reduction + 1e-9), "too many"
        better = sum(s is not None and s > own for s in at[below].values())
        allowed = math.floor(len(at[below]) / reduction + 1e-9)
        assert better < allowed, "it is not in the top 1/η"
        climbed[below].add(promotion.child)
        enter(promotion.child, promotion.rung, (3 * int(promotion.child) % 7) or None)
        return True

    for number, score in enumerate(scores):
        enter(str(number), 0, score)
        while greedy and climb():
            pass
    while climb():
        pass
    for rung in range(rungs):
        assert made.count(rung) == len(at[rung])
    for rung in range(rungs - 1):  # whoever may climb has
        ranked = sorted(
            (s for s in at[rung].items() if s[1] is not None), key=lambda s: s[1], reverse=True
        )
        most = math.floor(len(at[rung]) / reduction + 1e-9)
        full = len(climbed[rung]) == most
        assert full or {child for child, _ in ranked[:most]} <= climbed[rung]
