"""`benchmarks/fidelities.py` searches with halving and without, keeps each search's record, and compares curves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"
SMALL = (
    "search.budget=4",
    "search.strategy={name: random, batch_size: 2}",
    "search.controls=[]",
    "search.halving={rungs: [{epochs: 1, data_fraction: 0.5}], reduction: 2, window: 2}",
    "schedule.search_epochs=2",
    "evaluator.kind=local",
    "profile.budget_s=3",
)


def test_when_a_curve_first_was_as_good(scripts):
    curve = [(2.0, 1.0, 0.3), (5.0, 2.5, 0.7)]
    assert scripts["fidelities"].first_at(curve, 0.3) == (2.0, 1.0)
    assert scripts["fidelities"].first_at(curve, 0.5) == (5.0, 2.5)
    assert scripts["fidelities"].first_at(curve, 0.71) is None


def test_the_mean_begins_where_every_seed_has_something(scripts):
    curves = [[(1.0, 1.0, 0.2), (4.0, 3.0, 0.6)], [(2.0, 1.5, 0.4)]]
    mean = scripts["fidelities"].mean_curve(curves, 0)
    assert [seconds for seconds, _ in mean] == [2.0, 4.0]
    assert [best for _, best in mean] == pytest.approx([0.3, 0.5])


@pytest.mark.slow
def test_what_is_on_record_is_not_done_again(scripts, monkeypatch, tmp_path, capsys):
    module = scripts["fidelities"]
    monkeypatch.setattr(module, "LOADING_S", 0.0)
    options = [word for override in SMALL for word in ("--set", override)]
    command = ["fidelities.py", str(CONFIG), "--work", str(tmp_path), "--seeds", "1", *options]
    monkeypatch.setattr(sys, "argv", command)
    module.main()
    said = capsys.readouterr().out
    assert "halving had the other's best" in said
    for name in ("halving-0", "full-0"):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert 0 < found["paid"] <= 4
        assert found["curve"][-1][2] > 0
    (tmp_path / "full-0.json").unlink()  # as if it had been interrupted, with a ledger half full
    kept = (tmp_path / "halving-0.json").read_bytes()
    module.main()
    assert (tmp_path / "halving-0.json").read_bytes() == kept
    assert json.loads((tmp_path / "full-0.json").read_text())["paid"] == 4
