"""Makes some children misbehave, for `job_faults.py`: Python imports this at its start where the folder is on PYTHONPATH.

NETLATHE_MISBEHAVIOUR says how; of the children, every fourth seed does, in the search and not in the finals.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_HOW = "NETLATHE_MISBEHAVIOUR"
_MODULE = "evaluation.recipe"


def allocate() -> None:
    hoard = []
    while True:
        hoard.append(b"x" * (64 << 20))


def sleep_in_c() -> None:
    """Holds the interpreter's lock, so that no other thread of the process runs either."""
    import ctypes

    ctypes.PyDLL(None).sleep(10**6)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def fork_daemon() -> None:
    """A grandchild in a session of its own, whose parent has ended; the child itself goes on."""
    line = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(3600)"
    subprocess.run([sys.executable, "-S", "-c", line], check=True)


HOWS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (allocate, sleep_in_c, ignore_sigterm, fork_daemon)
}


class _Patched(importlib.abc.MetaPathFinder):
    """Finds the module as usual, and wraps its `train_by` when it has been executed."""

    def __init__(self, how: Callable[[], None]) -> None:
        self._how = how

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        execute, how = spec.loader.exec_module, self._how

        def execute_and_wrap(module: ModuleType) -> None:
            execute(module)
            original = module.train_by

            def train_by(*arguments: Any, seed: int, epochs: int, **others: Any) -> Any:
                if seed % 4 == 0 and epochs == int(os.environ["NETLATHE_MISBEHAVING_EPOCHS"]):
                    how()
                return original(*arguments, seed=seed, epochs=epochs, **others)

            module.train_by = train_by  # type: ignore[attr-defined]

        spec.loader.exec_module = execute_and_wrap  # type: ignore[method-assign]
        return spec


if _HOW in os.environ:
    sys.meta_path.insert(0, _Patched(HOWS[os.environ[_HOW]]))
