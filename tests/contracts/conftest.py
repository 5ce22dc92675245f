"""The databases that every store must work on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new SQLite file; PostgreSQL where NETLATHE_TEST_POSTGRES gives the URL of a database that tests may write to."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    found = os.environ.get("NETLATHE_TEST_POSTGRES")
    if not found:
        pytest.skip("NETLATHE_TEST_POSTGRES gives no PostgreSQL URL")
    return found
