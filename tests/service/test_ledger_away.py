"""A ledger that cannot be reached is no failure of its job where it is in another machine's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluation import Ledger
from service import run as module
from service.config_file import read_mapping
from service.deployment import LEDGER
from service.errors import NetlatheError, UnavailableError
from service.run_folder import create_run

CONFIG = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"


@pytest.mark.parametrize("elsewhere", [True, False])
def test_only_a_database_may_come_back_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    @contextmanager
    def parts(*_: object) -> Iterator[Any]:
        with Ledger(f"sqlite:///{tmp_path}/nowhere/ledger.db") as ledger:
            yield ledger

    if elsewhere:
        monkeypatch.setenv(LEDGER, "postgresql+psycopg://nobody@localhost/nothing")
    folder = create_run(tmp_path / "run", read_mapping(CONFIG), 0)
    monkeypatch.setattr(module, "_prepare", lambda *_: None)
    monkeypatch.setattr(module, "freeze", lambda *_: {})
    monkeypatch.setattr(module, "shared_weights", lambda *_: None)
    monkeypatch.setattr(module, "open_parts", parts)
    with pytest.raises(NetlatheError, match=r"(?s)ledger .*netlathe resume") as raised:
        module.carry_out(folder, fresh=True, source="run.yaml", as_json=False)
    assert isinstance(raised.value, UnavailableError) is elsewhere
