"""The simulated cluster of `benchmarks/scale.py` does what it says, and loses nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _logging_again() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("halving", [False, True])
def test_nothing_is_lost_or_doubled(scripts, monkeypatch, halving):
    virtual, scale = scripts["virtual_cluster"], scripts["scale"]
    faults = virtual.Faults(crash=0.3, hang=0.1, nan=0.1)
    monkeypatch.setattr(scale, "Faults", lambda: faults)
    row = scale.run(scale.Case("random", 4, 8, 40, 3.0, halving))
    assert (row.lost, row.doubled) == (0, 0)
    assert row.crashed > 0
    assert row.killed > 0
    assert 0 < row.utilisation < 1
    assert row.dispatch_ms[0] <= row.dispatch_ms[1]


def test_without_faults_workers_are_busy_but_for_the_ends_of_batches(scripts, monkeypatch):
    virtual, scale = scripts["virtual_cluster"], scripts["scale"]
    monkeypatch.setattr(scale, "Faults", lambda: virtual.Faults(crash=0, hang=0, nan=0))
    one = scale.run(scale.Case("random", 1, 8, 24, None))
    assert one.utilisation > 0.99, "one worker waits for nobody"
    assert (one.crashed, one.killed) == (0, 0)
    many = scale.run(scale.Case("random", 8, 8, 24, None))
    assert 0.2 < many.utilisation < 0.9
    assert many.hours < one.hours
