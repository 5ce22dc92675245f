"""The quantisation benchmark: its tables say what its records say, and it goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.benchmarks.tables import cells

pytestmark = pytest.mark.usefixtures("one_thread")


def test_losses_are_paired_by_seed_and_aims_are_judged(scripts: dict[str, ModuleType]) -> None:
    script = scripts["quantisation_report"]

    def record(variant: str, seed: int, test: float, **fields: Any) -> Any:
        own = {"execution": "float32", "agreement": None, "int8_test": None, **fields}
        return script.Record(
            data="digits",
            seed=seed,
            variant=variant,
            size_bytes=100 + seed,
            validation=test,
            test=test,
            seconds=1.0,
            **own,
        )

    int8 = {"execution": "int8", "int8_test": 0.9}
    records = [
        record("float32", 0, 0.90),
        record("float32", 1, 0.94),
        record("float32", 2, 0.50),
        record("int8 ptq mse", 0, 0.90, agreement=1.0, **int8),
        record("int8 ptq mse", 1, 0.91, agreement=0.99, **int8),
        record("w4a8 qat ste", 0, 0.91, **int8, agreement=1.0),
        record("w4a8 qat ste", 1, 0.93, **int8, agreement=1.0),
        record("w3 mixed", 1, 0.92),
        record("w3 grid a channel", 1, 0.91),
        record("w3 grid a channel", 0, 0.10),
    ]
    text = script.report(records)
    assert "digits: float32 78.00% on test images, 3 seeds" in text
    found = cells(text, "int8 ptq mse")
    assert found[:2] == ["2", "100"]
    assert found[3].startswith("1.50 ± 2.12 (-17.56 to +20.56)")
    assert found[4] == "int8, 99.5% of classes as fake-quantised"
    # seed 0 of the grid has no partner
    assert cells(text, "w3 mixed − w3 grid a channel") == ["1", "+1.00 ± nan (+nan to +nan)"]
    assert "MISSED: int8 ptq mse: 1.50 points lost (aim: 1)" in text
    assert "met: w4a8 qat ste: 0.00 points lost (aim: 1.5)" in text


def test_every_compared_or_judged_variant_is_made(scripts: dict[str, ModuleType]) -> None:
    report = scripts["quantisation_report"]
    made = {report.FURTHER, *scripts["quantisation"].variants({3: 1, 4: 1}, 1)}
    assert {name for pair in report.COMPARED for name in pair} <= made
    assert set(report.AIMS) <= made


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_says_the_same(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, report = scripts["quantisation"], scripts["quantisation_report"]
    call = ["--work", str(tmp_path), "--data", "digits", "--seeds", "2", "--tiny"]
    chosen = ["int8 ptq mse", "w4a8 qat ste", "w2 codebook"]
    script.main([*call, "--variants", *chosen])
    first = capsys.readouterr().out
    kept = (tmp_path / "records.jsonl").read_text()
    records = report.read_records(tmp_path / "records.jsonl")
    assert [(r.seed, r.variant) for r in records] == [
        (seed, name)
        for seed in range(2)
        for name in ("float32", report.FURTHER, "int8 ptq mse", "w4a8 qat ste", "w2 codebook")
    ]
    test = {(r.seed, r.variant): 100 * r.test for r in records}
    for name in chosen:
        lost = sum(test[seed, "float32"] - test[seed, name] for seed in range(2)) / 2
        assert float(cells(first, name)[3].split()[0]) == pytest.approx(lost, abs=0.006)
    assert all(r.agreement > 0.97 for r in records if r.execution == "int8")

    script.main([*call, "--variants", *chosen])
    again = capsys.readouterr().out
    assert "seed 0" not in again
    assert first.endswith(again)
    assert (tmp_path / "records.jsonl").read_text() == kept
    with pytest.raises(SystemExit, match=r"\['w1'\] are unknown"):
        script.main([*call, "--variants", "w1"])
