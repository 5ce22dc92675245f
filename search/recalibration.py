"""Measuring promising children while a search runs, so that the cost model is right where it matters.

At barriers (fixed numbers of proposals) nothing trains. The best children not measured yet run alone on the device, and
a new version of the cost model is made from all that this session measured. What was measured and the version go to
the ledger: a resumed search reads them back. Rewards keep the version that they were given.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from evaluation import Evaluation, LedgerSession, ModelCosting
from latency_models import Correction, Cost, ProfiledCostModel
from search.parts import Phase, RunParts
from search.summary import RecalibrationSummary

_log = logging.getLogger(__name__)


class SearchPaused(Exception):
    """The search stopped by itself, for a reason that a person should look at. It can be gone on with."""


def record_name(session: str, count: int) -> str:
    """Of a barrier's record in the ledger."""
    return f"barrier/{session}/{count}"


def recalibrations(parts: RunParts, session: LedgerSession) -> list[RecalibrationSummary]:
    """What the session's barriers found, in order."""
    every = parts.search.recalibration.every_for(parts.search.budget)
    counts = range(every, session.logged + 1, every) if every else ()
    records = [(n, parts.ledger.get_record(record_name(session.name, n))) for n in counts]
    return [
        RecalibrationSummary(
            session=session.name,
            count=count,
            networks=len(record["digests"]),
            drift=record["drift"],
            version=record["version"],
        )
        for count, record in records
        if record is not None
    ]


@contextmanager
def recalibrated(parts: RunParts, session: LedgerSession) -> Iterator[None]:
    """Inside, the session measures at its barriers; outside, the cost model is the profile's again.

    Barriers need a device that is here: there are none for tables of results and imported devices.

    Raises:
        SearchPaused: predictions and measurements lie further apart than the limit; not while replaying.
    """
    every = parts.search.recalibration.every_for(parts.search.budget)
    device_file, costing = parts.device_file, parts.costing
    if not every or device_file is None or not isinstance(costing, ModelCosting):
        yield
        return
    if device_file.imported:
        _log.info("no measuring during the search: %s is not here", device_file.device.name)
        yield
        return
    profiled = device_file.cost_model()
    session.set_barriers(every, _Barriers(parts, session, costing, profiled).reach)
    try:
        yield
    finally:
        _use(parts, costing, profiled)


def _use(parts: RunParts, costing: ModelCosting, model: ProfiledCostModel) -> None:
    costing.use(model)
    parts.bounds.use(model)


class _Barriers:
    """One session's barriers. `profiled` is the cost model that it starts with."""

    def __init__(
        self,
        parts: RunParts,
        session: LedgerSession,
        costing: ModelCosting,
        profiled: ProfiledCostModel,
    ) -> None:
        self._parts, self._session, self._costing = parts, session, costing
        self._profiled = self._model = profiled
        self._measured: dict[str, tuple[tuple[int, ...], Cost]] = {}  # choices and latency

    def reach(self, count: int) -> None:
        """Measure, or read back what was measured, and go on with the new version."""
        name = record_name(self._session.name, count)
        record = self._parts.ledger.get_record(name)
        if record is None:
            if self._session.logged > count:
                return  # passed without measuring, under a smaller budget: what came after it stands
            record = self._measure(count)
            if record is None:
                return
            self._parts.ledger.put_record(name, record)
        for digest, choices, ms, std in zip(
            *(record[key] for key in ("digests", "choices", "measured_ms", "std_ms")), strict=True
        ):
            self._measured[digest] = (tuple(choices), Cost(ms, std, "measured"))
        correction = Correction.model_validate(record["correction"])
        self._model = self._profiled.with_correction(correction, record["version"])
        _use(self._parts, self._costing, self._model)

    def _measure(self, count: int) -> dict[str, Any] | None:
        """The barrier's record; None where there is nothing to measure, or nothing to gain."""
        best = self._promising()
        if not best or self._session.remaining < self._parts.schedule.search.cost:
            return None
        self._parts.on_phase(Phase("measure", f"{len(best)} promising networks on the device"))
        networks = [self._parts.resolve(e.architecture.choices) for e in best]
        device_file = self._parts.device_file
        assert device_file is not None
        costs = [m.latency for m in device_file.measure(networks, seed=count)]
        predicted = [p.latency_ms[-1].value for p in self._model.predict(networks)]
        measured = [cost.value for cost in costs]
        drift = float(np.median(np.abs(np.divide(measured, predicted) - 1)))
        self._check(drift, measured, predicted)
        known = list(self._measured.values())
        version = self._model.version + 1
        model = self._profiled.updated(
            [*(self._parts.resolve(choices) for choices, _ in known), *networks],
            [*(cost for _, cost in known), *costs],
            version,
        )
        self._parts.on_phase(Phase("search"))
        return {
            "version": version,
            "digests": [e.architecture.digest for e in best],
            "choices": [list(e.architecture.choices) for e in best],
            "measured_ms": measured,
            "std_ms": [cost.std for cost in costs],
            "predicted_ms": predicted,
            "drift": drift,
            "correction": model.correction.model_dump(mode="json"),
        }

    def _promising(self) -> list[Evaluation]:
        """The best children by reward that were not measured yet."""
        best: dict[str, Evaluation] = {}
        for evaluation in sorted(self._session.history, key=lambda e: (-e.reward, e.sequence)):
            digest = evaluation.architecture.digest
            if evaluation.ok and evaluation.is_full and digest not in self._measured:
                best.setdefault(digest, evaluation)
        return list(best.values())[: self._parts.search.recalibration.networks]

    def _check(self, drift: float, measured: list[float], predicted: list[float]) -> None:
        limit = self._parts.search.recalibration.max_drift
        change = float(np.median(np.divide(measured, predicted))) - 1
        text = (
            f"of {len(measured)} promising networks measured alone, the median takes {100 * change:+.1f} % against "
            f"the cost model, and is off by {100 * drift:.1f} %"
        )
        if drift <= limit:
            _log.info("%s: %s", self._session.name, text)
            return
        if self._parts.accept_drift:
            _log.warning("%s; accepted as asked", text)
            return
        raise SearchPaused(
            f"{text}; search.recalibration.max_drift allows {100 * limit:g} %. Either something else runs on this "
            "machine, or it is not any more as it was profiled"
        )
