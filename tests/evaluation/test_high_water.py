"""A ledger from which rows vanished is refused, though SQLite finds nothing wrong with it."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archspace import Choices
from evaluation import Ledger, LedgerDamaged

Distinct = Callable[[int], list[Choices]]


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _mark(url: str) -> Path:
    return _path(url).with_name("ledger-mark.json")


@pytest.fixture
def written(ledger_url: str, open_session: Any, distinct: Distinct) -> tuple[str, list[Choices]]:
    """A ledger with four results and a record, closed."""
    batch = distinct(4)
    with Ledger(ledger_url) as ledger:
        open_session(ledger).evaluate(batch)
        ledger.put_record("final/x", {"accuracy": 0.5})
        ledger.put_record("final/x", {"accuracy": 0.6})  # the same one
    return ledger_url, batch


def _change(url: str, *statements: str) -> None:
    connection = sqlite3.connect(_path(url))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_it_says_what_was_written(written: tuple[str, list[Choices]]) -> None:
    mark = json.loads(_mark(written[0]).read_text())
    del mark["checksum"]
    assert mark == {"proposals": 4, "finished": 4, "records": 1}


def test_an_undisturbed_ledger_goes_on(
    written: tuple[str, list[Choices]], open_session: Any, distinct: Distinct
) -> None:
    url, batch = written
    with Ledger(url) as ledger:
        session = open_session(ledger)
        session.evaluate(batch)
        session.submit(distinct(5)[4:])  # one that is still open
    mark = json.loads(_mark(url).read_text())
    assert (mark["proposals"], mark["finished"]) == (5, 4)
    with Ledger(url) as ledger:
        assert len(ledger.evaluations("random-0")) == 4


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM proposals", "DELETE FROM results", "DELETE FROM records", "DELETE FROM sessions"],
        ["DELETE FROM proposals WHERE sequence = 3"],
        ["UPDATE proposals SET status = 'open' WHERE sequence = 3"],
        ["DELETE FROM records"],
    ],
)  # fmt: skip
def test_rows_that_vanished_are_noticed(
    written: tuple[str, list[Choices]], statements: list[str]
) -> None:
    _change(written[0], *statements)
    with pytest.raises(
        LedgerDamaged, match=r"4 proposals \(4 finished\) and 1 records were written, but there are"
    ):
        Ledger(written[0])


@pytest.mark.parametrize("how", ["removed", "empty"])
def test_a_file_that_is_gone_is_noticed_every_time(
    written: tuple[str, list[Choices]], how: str
) -> None:
    path = _path(written[0])
    path.unlink()
    if how == "empty":
        path.touch()
    for _ in range(2):
        with pytest.raises(
            LedgerDamaged, match=r"there are 0 proposals.*delete .*ledger-mark\.json"
        ):
            Ledger(written[0])


def test_a_write_ahead_log_that_is_damaged_or_lost_is_noticed(
    ledger_url: str, open_session: Any, distinct: Distinct, tmp_path: Path
) -> None:
    """As a kill leaves it: the log still holds what the database's file does not."""
    killed = tmp_path / "killed"
    killed.mkdir()
    with Ledger(ledger_url) as ledger:
        open_session(ledger).evaluate(distinct(4))
        for file in _path(ledger_url).parent.glob("ledger*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, killed)
    url, log = f"sqlite:///{killed / 'ledger.db'}", killed / "ledger.db-wal"
    database, whole = (killed / "ledger.db").read_bytes(), log.read_bytes()
    assert len(whole) > 10_000

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for damaged in (bytes(flipped), whole[: len(whole) // 2], b""):
        log.write_bytes(damaged)
        with pytest.raises(LedgerDamaged, match="write-ahead log"):
            Ledger(url)
        for leftover in killed.glob("ledger.db-*"):
            leftover.unlink()
        (killed / "ledger.db").write_bytes(database)
    log.write_bytes(whole)
    with Ledger(url) as ledger:
        assert len(ledger.evaluations("random-0")) == 4


def test_without_the_mark_what_is_there_counts(
    written: tuple[str, list[Choices]], open_session: Any
) -> None:
    """A ledger from before there were marks, or a person's decision."""
    url, batch = written
    _change(url, "DELETE FROM proposals WHERE sequence = 3")
    _mark(url).unlink()
    with Ledger(url) as ledger:
        assert len(open_session(ledger).evaluate(batch)) == 4
    assert json.loads(_mark(url).read_text())["proposals"] == 4


def test_a_damaged_mark_is_told_and_left_out(
    written: tuple[str, list[Choices]], caplog: pytest.LogCaptureFixture
) -> None:
    mark = _mark(written[0])
    whole = mark.read_text()
    for damaged in (whole.replace("4", "9"), whole[:20], "[]", "{}", '{"checksum": 1}'):
        mark.write_text(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING), Ledger(written[0]):
            pass
        assert "rows that are missing go unnoticed" in caplog.text


def test_a_mark_that_cannot_be_written_stops_nothing(
    written: tuple[str, list[Choices]], open_session: Any, distinct: Distinct
) -> None:
    url, batch = written
    blocked = _mark(url).with_name(".ledger-mark.json.tmp")
    blocked.mkdir()
    with Ledger(url) as ledger:
        open_session(ledger).evaluate([*batch, *distinct(6)[4:]])
    assert json.loads(_mark(url).read_text())["proposals"] == 4
    with Ledger(url) as ledger:
        assert len(ledger.evaluations("random-0")) == 6
