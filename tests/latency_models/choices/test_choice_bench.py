"""The protocol: what is tested was never seen, and references keep to their 900 architectures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import NasBench201Space
from latency_models import ChoiceTable, LatencyBench, TableError
from latency_models.choices import bench as bench_module

SPACE = NasBench201Space()
ALL = np.array(np.unravel_index(np.arange(5**6), (5,) * 6)).T
OPS_MS = np.array([0.1, 0.3, 1.0, 2.5, 0.7])
BENCH_DATA = Path(os.environ.get("NETLATHE_BENCH_DATA", "../shared/data")) / "nb201_dev.parquet"


def table(rows: int = 3000) -> ChoiceTable:
    rng = np.random.default_rng(0)
    choices = rng.permutation(ALL)[:rows]
    costs = {
        name: (1 + scale * OPS_MS[choices].sum(axis=1)) * rng.normal(1, 0.02, rows)
        for name, scale in (("a", 1.0), ("b", 3.0), ("c", 0.5))
    }
    costs["c"][::3] = np.nan
    return ChoiceTable(choices, costs)


def test_records_are_complete_and_repeatable() -> None:
    bench = LatencyBench(space=SPACE, table=table(), devices=["a", "c"], samples=[10], num_seeds=2)
    records = list(bench.run())
    assert len(records) == bench.num_records == 4
    assert {(r.device, r.samples, r.seed) for r in records} == {
        (d, 10, s) for d in "ac" for s in (0, 1)
    }
    again = list(bench.run())
    assert [r.spearman for r in again] == [r.spearman for r in records]
    for record in records:
        assert record.spearman > 0.9
        assert 0 <= record.within_5 <= record.within_10 <= 1
        assert 0 <= record.coverage_90 <= 1


def test_no_tested_architecture_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    fit, weigh = bench_module.fit_choice_model, bench_module.reference_weights

    def spy_fit(space: Any, choices: Any, measured: Any, **rest: Any) -> Any:
        model = fit(space, choices, measured, **rest)
        predict = model.predict_with_std

        def spy_predict(tested: Any) -> Any:
            seen.append({"fitted": choices, "tested": tested, "shared": seen_references[-1]})
            return predict(tested)

        object.__setattr__(model, "predict_with_std", spy_predict)
        return model

    seen_references: list[Any] = []

    def spy_weigh(space: Any, choices: Any, columns: Any, **rest: Any) -> Any:
        seen_references.append(choices)
        assert len(columns) == 2
        return weigh(space, choices, columns, **rest)

    monkeypatch.setattr(bench_module, "fit_choice_model", spy_fit)
    monkeypatch.setattr(bench_module, "reference_weights", spy_weigh)
    bench = LatencyBench(
        space=SPACE, table=table(), devices=["a"], references=["b", "c"], samples=[10, 50],
        num_seeds=1,
    )  # fmt: skip
    list(bench.run())
    assert len(seen) == 2
    assert len(seen_references) == 1
    for look in seen:
        tested = {tuple(row) for row in look["tested"].tolist()}
        assert len(look["shared"]) == 900
        assert not tested & {tuple(row) for row in look["fitted"].tolist()}
        assert not tested & {tuple(row) for row in look["shared"].tolist()}


def test_no_device_helps_itself() -> None:
    both = LatencyBench(
        space=SPACE, table=table(), devices=["a"], references=["a"], samples=[10], num_seeds=1
    )
    (record,) = both.run()
    assert record.spearman < 0.9999  # its own column would rank all but noise away
    assert record.within_5 < 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"samples": [4]}, "at least 5"), ({"samples": [2990]}, "ask for fewer")],
)
def test_what_cannot_be_run(changes: dict[str, Any], message: str) -> None:
    settings = {"space": SPACE, "table": table(), "devices": ["a"], "num_seeds": 1} | changes
    with pytest.raises(TableError, match=message):
        list(LatencyBench(**settings).run())


def test_random_samples_can_be_asked_for() -> None:
    settings: dict[str, Any] = {"devices": ["a"], "samples": [10], "num_seeds": 1}
    drawn = LatencyBench(space=SPACE, table=table(), selection="random", **settings)
    designed = LatencyBench(space=SPACE, table=table(), **settings)
    assert [r.spearman for r in drawn.run()] != [r.spearman for r in designed.run()]


@pytest.mark.slow
@pytest.mark.skipif(not BENCH_DATA.is_file(), reason="needs NETLATHE_BENCH_DATA")
def test_measured_devices_are_learnt_from_few_samples() -> None:
    devices = ["latency_1080ti_1_ms", "latency_silver_4210r_ms", "latency_samsung_a50_ms"]
    measured = ChoiceTable.read(BENCH_DATA, SPACE, devices)
    bench = LatencyBench(
        space=SPACE, table=measured, devices=devices, samples=[10, 50], num_seeds=2
    )
    records = list(bench.run())
    assert np.mean([r.spearman for r in records if r.samples == 10]) > 0.95
    assert np.mean([r.spearman for r in records if r.samples == 50]) > 0.97
