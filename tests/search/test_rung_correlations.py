"""How rungs agree, in analysis.json and in the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation import Evaluation, Fidelity
from search.analysis import Learnt, analyse
from search.page import Page
from search.report_analysis import analysis_section
from search.rung_correlations import RungCorrelation, RungCount, rung_correlations, rung_counts
from tests.search.run_samples import SampleRun, make_evaluation

LOW, MIDDLE = Fidelity(name="low", epochs=1, cost=0.1), Fidelity(name="mid", epochs=2, cost=0.3)
FULL = Fidelity(name="search", epochs=8)
RUNGS = (LOW, MIDDLE, FULL)


def child(
    sequence: int, digest: str, accuracy: float | None, fidelity: Fidelity | None
) -> Evaluation:
    from evaluation import FailureReason

    failure = FailureReason.OOM if accuracy is None else None
    made = make_evaluation(sequence, accuracy, digest=digest, failure=failure)
    return replace(made, fidelity=fidelity, charged=(fidelity or FULL).cost)


@pytest.fixture
def history() -> list[Evaluation]:
    low = [child(i, str(i), 0.1 * i, LOW) for i in range(8)] + [child(8, "bad", None, LOW)]
    mid = [child(9 + i, str(i), a, MIDDLE) for i, a in ((4, 0.6), (5, 0.5), (6, 0.7), (7, 0.9))]
    full = [child(20 + i, str(i), a, None) for i, a in ((6, 0.8), (7, 0.7))]
    return [*low, *mid, *full]


def test_counts(history: list[Evaluation]) -> None:
    counts = rung_counts(history, RUNGS)
    assert [(c.name, c.cost, c.children, c.failed) for c in counts] == [
        ("low", 0.1, 9, 1),
        ("mid", 0.3, 4, 0),
        ("search", 1.0, 2, 0),
    ]
    assert [c.charged for c in counts] == pytest.approx([0.9, 1.2, 2.0])


def test_correlations_over_the_children_at_both(history: list[Evaluation]) -> None:
    assert rung_correlations(history, RUNGS) == (
        RungCorrelation("low", "mid", 4, pytest.approx(0.8)),  # 1 2 3 4 against 2 1 3 4
        RungCorrelation("low", "search", 2, None),
        RungCorrelation("mid", "search", 2, None),
    )


def test_ties_have_no_correlation() -> None:
    history = [child(i, str(i), 0.5, LOW) for i in range(4)]
    history += [child(9 + i, str(i), 0.1 * i, None) for i in range(4)]
    assert rung_correlations(history, (LOW, FULL))[0] == RungCorrelation("low", "search", 4, None)


def test_analysis_holds_them_and_the_report_shows_them(
    history: list[Evaluation], tmp_path: Path
) -> None:
    analysis = analyse("ppo-0", SampleRun().space, history, Learnt(), RUNGS)
    assert analysis.explained is None, "two children in full say nothing of decisions"
    analysis.write(tmp_path / "analysis.json")
    data = json.loads((tmp_path / "analysis.json").read_text())
    assert data["rungs"][0] == {
        "name": "low", "cost": 0.1, "children": 9, "failed": 1, "charged": pytest.approx(0.9),
    }  # fmt: skip
    assert data["rung_correlations"][0]["spearman"] == pytest.approx(0.8)
    html = str(analysis_section(Page("t"), analysis))
    assert "low → mid" in html
    assert ">0.80<" in html
    assert ">–<" in html
    assert "rank correlation (Spearman)" in html


def test_without_halving_nothing_is_said(history: list[Evaluation]) -> None:
    analysis = analyse("ppo-0", SampleRun().space, history, Learnt())
    assert analysis.rungs == ()
    assert analysis.rung_correlations == ()
    assert "rank correlation (Spearman)" not in str(analysis_section(Page("t"), analysis))
    assert rung_counts([], (FULL,)) == (RungCount("search", 1.0, 0, 0, 0),)
