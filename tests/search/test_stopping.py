"""A search whose children nearly all fail, or whose time is over, stops and keeps what it paid for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from archspace import Architecture
from evaluation import ChildResult, Evaluation, FailureReason, Ledger
from search import DeadlinePassed, TooManyFailures
from search.config import SearchConfig
from search.stopping import MIN_CHILDREN, StopRules


def child(failure: FailureReason | None, charged: float = 1.0) -> Evaluation:
    result = ChildResult(
        digest="d" * 16,
        accuracy=None if failure else 0.5,
        failure=failure,
        message="it broke" if failure else "",
    )
    architecture = Architecture(space_digest="s", choices=(0,), digest="d" * 16, label="d")
    return Evaluation(
        sequence=0,
        architecture=architecture,
        result=result,
        costs=None,
        reward=0.0,
        charged=charged,
        is_new=True,
    )


GOOD, BAD = child(None), child(FailureReason.CRASH)


def rules(tmp_path: Path, now: list[float] | None = None, **settings: float) -> StopRules:
    clock = (lambda: 0.0) if now is None else (lambda: now[0])
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        return StopRules(SearchConfig.model_validate(settings), ledger, clock)


def test_more_failures_than_allowed_stop_the_search(tmp_path: Path) -> None:
    watch = rules(tmp_path)
    for each in [BAD] * 5 + [GOOD] * 5:  # half of them may
        watch.see(each)
    with pytest.raises(TooManyFailures, match=r"6 of 11 .*6 CRASH.*0\.5 .*it broke"):
        watch.see(BAD)


def test_few_children_say_little_and_a_share_of_1_allows_all(tmp_path: Path) -> None:
    watch = rules(tmp_path)
    for _ in range(MIN_CHILDREN - 1):
        watch.see(BAD)
    with pytest.raises(TooManyFailures):
        watch.see(BAD)
    patient = rules(tmp_path, max_failure_share=1)
    for _ in range(3 * MIN_CHILDREN):
        patient.see(BAD)


def test_lost_children_repeats_and_rejections_are_not_counted(tmp_path: Path) -> None:
    watch = rules(tmp_path, max_failure_share=0)
    lost, repeat = child(FailureReason.LOST, charged=0), child(FailureReason.CRASH, charged=0)
    rejected = replace(child(None, charged=0), result=None, rejected="too slow")
    for each in [lost, repeat, rejected] * MIN_CHILDREN + [GOOD] * MIN_CHILDREN:
        watch.see(each)
    with pytest.raises(TooManyFailures, match="1 of 11"):
        watch.see(BAD)


def test_a_deadline_counts_from_the_first_start(tmp_path: Path) -> None:
    now = [1000.0]
    watch = rules(tmp_path, now, deadline_hours=2)
    now[0] += 2 * 3600
    watch.see(GOOD)
    now[0] += 60
    with pytest.raises(DeadlinePassed, match="deadline_hours is 2"):
        watch.see(GOOD)
    with pytest.raises(DeadlinePassed):
        rules(tmp_path, now, deadline_hours=2).check_time()  # resumed as it is
    rules(tmp_path, now, deadline_hours=3).check_time()
    rules(tmp_path, now).check_time()
