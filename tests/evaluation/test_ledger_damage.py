"""A ledger whose bytes changed is refused; it never answers with something that was not written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import Choices
from evaluation import Ledger, LedgerDamaged, LedgerError

Distinct = Callable[[int], list[Choices]]


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture
def written(ledger_url: str, open_session: Any, distinct: Distinct) -> tuple[str, list[Choices]]:
    """A ledger with four results and a record, closed."""
    batch = distinct(4)
    with Ledger(ledger_url) as ledger:
        open_session(ledger).evaluate(batch)
        ledger.put_record("final/x", {"accuracy": 0.5})
    return ledger_url, batch


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE proposals SET reward = reward + 1e-12 WHERE sequence = 2",
        "UPDATE proposals SET result = replace(result, '0.', '0.1') WHERE sequence = 2",
        "UPDATE proposals SET choices = replace(choices, '0', '1') WHERE sequence = 0",
        "UPDATE proposals SET is_new = 0 WHERE sequence = 1",
        "UPDATE proposals SET status = 'oqen' WHERE sequence = 1",
        "UPDATE proposals SET checksum = NULL WHERE sequence = 1",
        "DELETE FROM proposals WHERE sequence = 1",
        "UPDATE sessions SET budget = 7",
    ],
)
def test_a_changed_row_is_refused(
    written: tuple[str, list[Choices]], open_session: Any, change: str
) -> None:
    url, _ = written
    connection = sqlite3.connect(_path(url))
    assert connection.execute(change).rowcount == 1
    connection.commit()
    connection.close()
    with pytest.raises(LedgerDamaged, match=r"ledger\.db.*start a new run"), Ledger(url) as ledger:
        open_session(ledger)


def test_a_changed_record_is_refused(written: tuple[str, list[Choices]]) -> None:
    connection = sqlite3.connect(_path(written[0]))
    connection.execute("UPDATE records SET value = replace(value, '5', '6')")
    connection.commit()
    connection.close()
    with Ledger(written[0]) as ledger, pytest.raises(LedgerDamaged, match="checksum differs"):
        ledger.get_record("final/x")


def test_a_changed_answer_of_the_cache_is_refused(
    written: tuple[str, list[Choices]], open_session: Any
) -> None:
    url, batch = written
    connection = sqlite3.connect(_path(url))
    connection.execute("UPDATE results SET result = replace(result, '0.', '0.1')")
    connection.commit()
    connection.close()
    with Ledger(url) as ledger:
        other = open_session(ledger, "control")
        with pytest.raises(LedgerDamaged, match="checksum differs"):
            other.evaluate(batch)


def test_flipped_bits_are_refused_or_change_nothing(
    written: tuple[str, list[Choices]], open_session: Any
) -> None:
    """Anywhere in the file: what is answered is what was written, or there is no answer."""
    url, batch = written
    path = _path(url)
    with Ledger(url) as ledger:
        before = open_session(ledger).evaluate(batch)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            with Ledger(url) as ledger:
                assert open_session(ledger).evaluate(batch) == before
        except LedgerError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(
    written: tuple[str, list[Choices]], open_session: Any, share: float
) -> None:
    path = _path(written[0])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(LedgerDamaged), Ledger(written[0]) as ledger:
        open_session(ledger)
