"""When a search ends by itself without a result: its time is over, or most children fail.

Both leave all that was paid for, and the search can be gone on with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from evaluation import Evaluation, Ledger
from search.config import SearchConfig

MIN_CHILDREN = 10
"""Children before whose number their failures say little."""
_BEGUN = "begun"


class TooManyFailures(Exception):
    """More children failed than `search.max_failure_share` allows; the message says how."""


class DeadlinePassed(Exception):
    """The search is not at its end after `search.deadline_hours`."""


class StopRules:
    """Looked at before a session and with each of its results.

    Failures are those of children trained by this process: a search that is gone on with, after what was wrong was mended, is not
    held to what failed before. Those that were lost with their worker are no failures. The deadline counts from the first
    start of the run, pauses included.

    Args:
        search: the two limits.
        ledger: keeps when the run began.
        clock: seconds since 1970.
    """

    def __init__(
        self, search: SearchConfig, ledger: Ledger, clock: Callable[[], float] = time.time
    ) -> None:
        self._search, self._clock = search, clock
        self._children = 0
        self._failed: Counter[str] = Counter()
        begun = ledger.get_record(_BEGUN)
        if begun is None:
            begun = {"at": clock()}
            ledger.put_record(_BEGUN, begun)
        self._begun = float(begun["at"])

    def check_time(self) -> None:
        """Raises DeadlinePassed."""
        hours = self._search.deadline_hours
        if hours is not None and (passed := (self._clock() - self._begun) / 3600) > hours:
            raise DeadlinePassed(
                f"search.deadline_hours is {hours:g}, and {passed:.3g} hours have passed since the run began"
            )

    def see(self, evaluation: Evaluation) -> None:
        """A result that was not there before. Raises TooManyFailures, DeadlinePassed."""
        if evaluation.result is not None and evaluation.charged > 0:
            self._children += 1
            if evaluation.result.failure is not None:
                self._failed[str(evaluation.result.failure)] += 1
            self._check_failures(evaluation)
        self.check_time()

    def _check_failures(self, last: Evaluation) -> None:
        failed, most = self._failed.total(), self._search.max_failure_share
        if self._children < MIN_CHILDREN or failed <= most * self._children:
            return
        said = last.result.message if last.result is not None else ""
        kinds = ", ".join(f"{count} {reason}" for reason, count in self._failed.most_common())
        raise TooManyFailures(
            f"{failed} of {self._children} children failed ({kinds}), which is more than search.max_failure_share "
            f"{most:g} allows; the last one said: {said or 'nothing'}"
        )
