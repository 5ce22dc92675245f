"""Whether shared weights foretell what networks reach in full."""

from __future__ import annotations

import logging

import numpy as np

from evaluation import Evaluation
from search.analysis import SupernetVerdict
from search.halving_config import SupernetRungConfig
from search.rung_correlations import spearman

_log = logging.getLogger(__name__)


class SupernetGate:
    """Judged once, by the search's first children, which are evaluated both ways.

    Args:
        config: how many children, and the least rank correlation.
    """

    def __init__(self, config: SupernetRungConfig) -> None:
        self._config = config
        self._shared: dict[str, Evaluation] = {}  # by digest
        self._full: dict[str, Evaluation] = {}
        self.verdict: SupernetVerdict | None = None
        """None as long as children are missing."""

    @property
    def missing(self) -> int:
        """Children that still have to be evaluated both ways."""
        return self._config.probes - len(self._both)

    @property
    def _both(self) -> list[str]:
        return [digest for digest in self._shared if digest in self._full]

    @property
    def judged(self) -> list[Evaluation]:
        """The children's evaluations with shared weights."""
        return list(self._shared.values())

    def add(self, evaluation: Evaluation) -> None:
        """Enter a result of one of the children; the last one brings the verdict."""
        side = self._full if evaluation.is_full else self._shared
        side[evaluation.architecture.digest] = evaluation
        if not self.missing:
            self.verdict = self._judge(self._both)
            _log.info("%s", self.verdict.text)

    def _judge(self, digests: list[str]) -> SupernetVerdict:
        pairs = [(self._shared[digest], self._full[digest]) for digest in digests]
        known = [(low.accuracy, high.accuracy) for low, high in pairs if low.ok and high.ok]
        below, above = np.array(known, dtype=np.float64).reshape(-1, 2).T
        found = spearman(below, above)
        used = found is not None and found >= self._config.least_correlation
        return SupernetVerdict(len(known), found, self._config.least_correlation, used)
