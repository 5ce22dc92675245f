"""Process-wide random numbers and thread counts, kept apart for the agent and the rest of the process."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from archspace import Choices
from evaluation import Evaluation, LedgerSession


@dataclass(frozen=True)
class ProcessState:
    """States of Python's, NumPy's and torch's global generators, and torch's number of threads.

    Stable-Baselines3 draws from the global generators, and training a child in this process seeds them. So
    the agent has its own states, swapped in while it decides and learns, and out while children are
    evaluated: then a replay from the log, in which nothing is trained, meets the same numbers.
    """

    python: tuple[Any, ...]
    numpy: tuple[Any, ...]
    torch: torch.Tensor
    threads: int

    @classmethod
    def capture(cls) -> ProcessState:
        """The states as they are now."""
        state = np.random.get_state(legacy=True)
        assert isinstance(state, tuple)
        return cls(random.getstate(), state, torch.get_rng_state(), torch.get_num_threads())

    def restore(self) -> None:
        """Make these the process's states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)


class SeparateState:
    """Two process states that take turns: the agent's (inside) and the rest's (outside)."""

    def __init__(self) -> None:
        self._outside = ProcessState.capture()
        self._agent: ProcessState | None = None

    @contextmanager
    def inside_again(self) -> Iterator[None]:
        """`inside`, going on with the states that the agent left there the last time."""
        with self.inside():
            if self._agent is not None:
                self._agent.restore()
            try:
                yield
            finally:
                self._agent = ProcessState.capture()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The agent works here, on one thread; what the process had comes back at the end."""
        self._outside = ProcessState.capture()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            self._outside.restore()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Within `inside`: the rest of the process works here."""
        agent = ProcessState.capture()
        self._outside.restore()
        try:
            yield
        finally:
            self._outside = ProcessState.capture()
            agent.restore()


class OutsideSession:
    """A session of the ledger, asked with the process's own random states in place."""

    def __init__(self, session: LedgerSession, state: SeparateState) -> None:
        self._session = session
        self._state = state

    def evaluate(self, batch: Sequence[Choices]) -> list[Evaluation]:
        """See `LedgerSession.evaluate`."""
        with self._state.outside():
            return self._session.evaluate(batch)
