"""One job's dealings with the results that jobs share, which may be out of reach: then it works as if alone."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from evaluation.results import ChildResult, FailureReason
from evaluation.scoring import checked_result, without_effort
from evaluation.shared_results import SharedResults, SharedResultsError

_log = logging.getLogger(__name__)

LEASE_S = 30.0
"""How long a child stays claimed when its job no longer says that it trains it."""

T = TypeVar("T")


def is_shareable(result: ChildResult) -> bool:
    """Whether it would be the same wherever the child is trained; other failures depend on the machine and its limits."""
    return result.failure in (None, FailureReason.NONFINITE)


class Claims:
    """Asks, claims and answers; no method raises where the database cannot be reached.

    A thread renews the claims three times in a lease. While the database is out of reach that thread alone asks whether it is
    back, so that nobody waits for it.

    Args:
        shared: closed by `close`.
        lease_s: seconds that a claim outlives its job.
    """

    def __init__(self, shared: SharedResults, *, lease_s: float = LEASE_S) -> None:
        self._shared = shared
        self._lease_s = lease_s
        self._owner = uuid.uuid4().hex
        self._held: set[str] = set()
        self._is_away = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def answers(self, keys: Sequence[str]) -> dict[str, ChildResult]:
        """Results that there are, by key, without anyone's effort; none where it is out of reach."""
        found = self._reach(lambda: self._shared.get_many(keys)) if keys else None
        return {key: without_effort(result) for key, result in (found or {}).items()}

    def take(self, keys: Sequence[str], most: int) -> list[str]:
        """The first keys, at most `most`, that this job is to train now; any where it is out of reach."""
        if not keys or most < 1:
            return []
        self._start_renewing()
        ours = self._reach(lambda: self._shared.claim(keys, self._owner, self._lease_s, most))
        if ours is None:
            return list(dict.fromkeys(keys))[:most]
        with self._lock:
            self._held.update(ours)
        return ours

    def settle(self, key: str, result: ChildResult) -> None:
        """A child that was taken is trained: others get its result, or train it themselves."""
        result = without_effort(checked_result(result))
        if not is_shareable(result):
            self.give_up([key])
            return
        self._reach(lambda: self._shared.put(key, result))
        self._forget([key])

    def give_up(self, keys: Iterable[str]) -> None:
        """Children that were taken are not trained after all."""
        keys = list(keys)
        self._forget(keys)
        if keys:
            self._reach(lambda: self._shared.release(keys, self._owner))

    def renew(self) -> None:
        """Once: what is held, or just a look whether the database is back."""
        with self._lock:
            held = sorted(self._held)
        if held or self._is_away:
            self._reach(
                lambda: self._shared.renew(held, self._owner, self._lease_s), even_if_away=True
            )

    def close(self) -> None:
        """Give all up, and disconnect. Safe to call twice."""
        self._ended.set()
        thread, self._thread = self._thread, None
        with self._lock:
            held = list(self._held)
        self.give_up(held)
        if thread is not None:
            thread.join(self._lease_s)
        self._shared.close()

    def _forget(self, keys: Iterable[str]) -> None:
        with self._lock:
            self._held.difference_update(keys)

    def _reach(self, ask: Callable[[], T], *, even_if_away: bool = False) -> T | None:
        """What `ask` gives; None where the database is out of reach."""
        if self._is_away and not even_if_away:
            return None
        try:
            answer = ask()
        except SharedResultsError as error:
            if not self._is_away:
                _log.warning(
                    "the shared results cannot be reached, children are trained without them until they can: %s",
                    error,
                )
            self._is_away = True
            return None
        if self._is_away:
            _log.info("the shared results can be reached again")
        self._is_away = False
        return answer

    def _start_renewing(self) -> None:
        if self._thread is None:
            self._ended = threading.Event()
            self._thread = threading.Thread(
                target=self._keep_renewing, args=(self._ended,), name="claims", daemon=True
            )
            self._thread.start()

    def _keep_renewing(self, ended: threading.Event) -> None:
        while not ended.wait(self._lease_s / 3):
            self.renew()
