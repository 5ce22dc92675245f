"""For all tests. Hypothesis tries the same examples each time; `NETLATHE_EXPLORE=1` has it look for new ones."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("NETLATHE_EXPLORE"):
    settings.load_profile("repeatable")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Trainings in tests share the machine with others: threads would wait for each other."""
    from evaluation import child_runner

    with child_runner.one_thread():
        yield
