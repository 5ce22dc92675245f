"""How long a child should take, by the children that have ended: one that takes far longer has a bad worker."""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING

from child_models import count_macs
from evaluation.results import ChildTask

if TYPE_CHECKING:
    from archspace import Network

LEAST_CHILDREN = 8
"""So many must have ended before anything is predicted."""
LEAST_DEADLINE_S = 60.0
"""No deadline is shorter: what a child takes beside its work (loading, compiling) is not in the prediction."""
REMEMBERED = 500
"""Children that the prediction is made from: the latest, so that it follows a machine that got slower."""


def work_of(task: ChildTask) -> float:
    """What training the child takes, in multiply-accumulates times epochs and share of the images; 0 where unknown or not trained."""
    network, fidelity = task.network, task.fidelity
    if network is None or fidelity.supernet:
        return 0.0
    images = fidelity.data_fraction * _share_of_pixels(network, fidelity.resolution)
    return count_macs(network) * fidelity.epochs * images


def _share_of_pixels(network: Network, resolution: int | None) -> float:
    height = network.input_shape.height
    return 1.0 if resolution is None else min(1.0, resolution / height) ** 2


class Pace:
    """Seconds per unit of work, from the children of a crew that have ended.

    Args:
        factor: a child's deadline is this many times what it should take; None: no child has one.
    """

    def __init__(self, factor: float | None) -> None:
        self._factor = factor
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def learn(self, work: float, seconds: float) -> None:
        """A child of so much work ended after `seconds` on its worker."""
        if self._factor is None or work <= 0:
            return
        rate = seconds / work
        self._latest.append(rate)
        insort(self._sorted, rate)
        if len(self._latest) > REMEMBERED:
            self._sorted.remove(self._latest.popleft())

    def deadline_s(self, work: float) -> float | None:
        """After how long a child is a straggler: `factor` times its work at the median pace, at least a minute.

        None where that cannot be said (yet).
        """
        return self._at(1.0, work)

    def late_s(self, work: float, busy: float) -> float | None:
        """After how long a child is late, where the share `busy` of the workers has something to do. None as there.

        From what it should take, where nearly all are idle, up to halfway to its deadline, where nearly all are busy.
        """
        return self._at(0.5 * busy, work)

    def _at(self, way: float, work: float) -> float | None:
        """So far on the way from what the child should take (0) to its deadline (1)."""
        if self._factor is None or work <= 0 or len(self._sorted) < LEAST_CHILDREN:
            return None
        median = self._sorted[len(self._sorted) // 2]
        return max(LEAST_DEADLINE_S, (1 + way * (self._factor - 1)) * median * work)
