"""A signal that comes while a search still loads its libraries stops it as any other."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

from service.commands.search import run_resume_verb
from service.errors import StoppedError
from service.run_folder import create_run


def test_a_signal_during_the_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(tmp_path / "run", {"name": "x"}, 0)

    class Slow(ModuleType):
        def __getattr__(self, name: str) -> object:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AttributeError(name)

    monkeypatch.setitem(sys.modules, "service.run", Slow("service.run"))
    with pytest.raises(StoppedError, match="netlathe resume"):
        run_resume_verb(folder.path, accept_drift=False, add_trials=0, budget=0, as_json=False)
