"""Fixtures of the tests of what a run leaves behind."""

from __future__ import annotations

import pytest

from tests.search.run_samples import SampleRun


@pytest.fixture(scope="session")
def sample_run() -> SampleRun:
    """A finished run with three sessions; not to be changed."""
    return SampleRun()
