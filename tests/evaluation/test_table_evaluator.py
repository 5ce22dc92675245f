"""Looking results up: units, gaps, costs, and a whole search over a real table."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import NasBench201Space
from child_models import count_macs, count_params
from evaluation import (
    BudgetExhausted,
    ChildTask,
    FailureReason,
    Fidelity,
    Ledger,
    LimitsConfig,
    MinMaxConfig,
    ObjectiveBounds,
    TableCosting,
    TableEvaluator,
    make_objective,
)
from latency_models import MeasuredTable

FIDELITY = Fidelity(name="table", epochs=200)


@pytest.fixture
def space() -> NasBench201Space:  # type: ignore[override]
    return NasBench201Space()


def _task(space: NasBench201Space, choices: tuple[int, ...]) -> ChildTask:
    return ChildTask(
        architecture=space.architecture(choices),
        network=None,
        fidelity=FIDELITY,
        replicate=0,
        seed=0,
    )


def test_units_and_gaps(space: NasBench201Space) -> None:
    known, missing = _task(space, (0,) * 6), _task(space, (1,) * 6)
    label = known.architecture.label
    percent = TableEvaluator(MeasuredTable({"acc": {label: 93.5}}), "acc")
    results = dict(percent.evaluate([known, missing]))
    assert results[0].accuracy == pytest.approx(0.935)
    assert results[1].failure is FailureReason.CRASH
    assert "|skip_connect~0|" in results[1].message
    share = TableEvaluator(MeasuredTable({"acc": {label: 0.935}}), "acc", unit="share")
    assert dict(share.evaluate([known]))[0].accuracy == 0.935
    wrong = TableEvaluator(MeasuredTable({"acc": {label: 93.5}}), "acc", unit="share")
    assert dict(wrong.evaluate([known]))[0].failure is FailureReason.NONFINITE
    assert len({percent.key, share.key, wrong.key}) == 3
    assert percent.missing(known.architecture) == ""
    assert "no acc" in percent.missing(missing.architecture)


def test_what_the_table_lacks_is_refused_free_of_charge(
    space: NasBench201Space, ledger: Ledger
) -> None:
    label = space.architecture((0,) * 6).label
    session = ledger.session(
        "table",
        "random",
        0,
        budget=2,
        space=space,
        evaluator=TableEvaluator(MeasuredTable({"acc": {label: 50.0}}), "acc"),
        costing=TableCosting(MeasuredTable({}), None, None),
        objective=make_objective(
            MinMaxConfig(accuracy_weight=1.0, latency_weight=0.0, energy_weight=0.0), None
        ),
        limits=LimitsConfig(),
        fidelity=FIDELITY,
        training_seed=0,
    )
    known, missing = session.evaluate([(0,) * 6, (1,) * 6])
    assert (known.accuracy, known.charged) == (0.5, 1.0)
    assert (missing.ok, missing.charged) == (False, 0.0)
    assert "no acc" in missing.rejected
    assert np.isnan(session.expected_costs([(0,) * 6])).all()
    assert session.spent == 1.0


def test_expected_costs_are_the_tables(space: NasBench201Space) -> None:
    architecture = space.architecture((3,) * 6)
    table = MeasuredTable({"ms": {architecture.label: 5.5}, "mj": {architecture.label: 20.0}})
    batch = [(3,) * 6, (2,) * 6]
    found = TableCosting(table, "ms", "mj").expected(space, batch)
    np.testing.assert_array_equal(found, [[5.5, 20.0], [np.nan, np.nan]])
    estimated = TableCosting(table, "ms", None).expected(space, batch)
    assert estimated[0, 0] == 5.5
    assert estimated[0, 1] > 0
    assert np.isnan(estimated[1]).all()
    assert TableCosting(table, "ms", "mj").expected(space, []).shape == (0, 2)


def test_costs_from_a_table(space: NasBench201Space) -> None:
    choices = (3,) * 6
    architecture, network = space.architecture(choices), space.resolve(choices)
    other = replace(architecture, label="unknown")
    table = MeasuredTable(
        {"ms": {architecture.label: 5.5, "zero": 0.0}, "mj": {architecture.label: 20.0}}
    )
    costs = TableCosting(table, "ms", "mj").costs(architecture, network, None)
    assert costs is not None
    assert (costs.latency_ms.value, costs.energy_mj.value) == (5.5, 20.0)
    assert (costs.latency_ms.source, costs.energy_mj.source) == ("measured", "measured")
    assert costs.latency_worst_ms == costs.latency_ms
    assert (costs.num_params, costs.macs) == (count_params(network), count_macs(network))
    assert TableCosting(table, "ms", "mj").costs(other, network, None) is None
    zero = replace(architecture, label="zero")
    assert TableCosting(table, "ms", None).costs(zero, network, None) is None
    assert TableCosting(table, None, "mj").costs(architecture, network, None) is None
    without = TableCosting(table, "ms", None).costs(architecture, network, None)
    assert without is not None
    assert without.energy_mj.source == "estimated"
    assert without.energy_mj.value > 0


def test_a_search_over_nas_bench_201(space: NasBench201Space, ledger: Ledger) -> None:
    path = Path(os.environ.get("NETLATHE_BENCH_DATA", "../shared/data")) / "nb201_dev.parquet"
    if not path.is_file():
        pytest.skip(f"no {path}")
    columns = ["c10_val_200", "latency_edgegpu_ms", "energy_edgegpu_mj"]
    table = MeasuredTable.read(path, columns=columns)
    (low_ms, high_ms), (low_mj, high_mj) = (table.range_of(name) for name in columns[1:])
    settings: dict[str, Any] = {
        "budget": 40,
        "space": space,
        "evaluator": TableEvaluator(table, columns[0]),
        "costing": TableCosting(table, columns[1], columns[2]),
        "objective": make_objective(
            MinMaxConfig(accuracy_floor=0.85),
            ObjectiveBounds(
                latency_min_ms=low_ms,
                latency_max_ms=high_ms,
                energy_min_mj=low_mj,
                energy_max_mj=high_mj,
            ),
        ),
        "limits": LimitsConfig(num_params=500_000),
        "fidelity": FIDELITY,
        "training_seed": 0,
    }
    session = ledger.session("table", "random", 0, **settings)
    rng = np.random.default_rng(0)
    batches = ([space.sample(rng) for _ in range(10)] for _ in range(100))
    with pytest.raises(BudgetExhausted):
        list(map(session.evaluate, batches))
    history = session.history
    assert session.spent == sum(e.ok for e in history) == 40
    rejected = {e.rejected.split(" ")[0] for e in history if e.rejected}
    assert rejected == {"num_params", "its"}  # over the limit, or "its costs are unknown"
    assert all(e.costs.num_params <= 500_000 for e in history if e.ok)
