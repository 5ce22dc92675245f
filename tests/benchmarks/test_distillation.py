"""The distillation benchmark: its statistics, its verdict, and that it goes on where it stopped."""

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from child_models import count_macs, load_data

pytestmark = pytest.mark.usefixtures("one_thread")


def test_paired_differences_by_hand(scripts: dict[str, ModuleType]) -> None:
    paired = scripts["distillation_report"].paired
    ours, theirs = [0.93, 0.95, 0.94], [0.90, 0.91, 0.93]
    found = paired(ours, theirs)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.mean == pytest.approx(0.08 / 3)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert math.isnan(paired([0.5], [0.4]).low)


def test_the_report_says_share_of_gap_and_of_teacher(scripts: dict[str, ModuleType]) -> None:
    report = scripts["distillation_report"]
    accuracies = {"alone": [0.80, 0.82], "four terms": [0.85, 0.86]}
    text = report.report(accuracies, 0.9, "Test")
    assert "teacher 90.00 %, gap 9.00 points, 2 seeds" in text
    row = next(line for line in text.splitlines() if line.startswith("| four terms"))
    assert "+4.50" in row
    assert "| 50 % | 95.00 % |" in row
    verdict = report.verdict(accuracies, 0.9).splitlines()
    assert verdict[0].startswith("met: the teacher leads by 9.00")
    assert verdict[1].startswith("MISSED: four terms: 50 %")  # two seeds leave 0 in the interval
    assert verdict[2].startswith("MISSED: four terms: 95.00 %")
    better = {"alone": [0.80, 0.82, 0.81], "four terms": [0.88, 0.90, 0.89]}
    assert report.verdict(better, 0.9).count("met:") == 3


def test_every_method_is_a_valid_config_and_alone_has_no_teacher(
    scripts: dict[str, ModuleType],
) -> None:
    cases = scripts["distillation_cases"]
    assert cases.METHODS["alone"].used() == ("hard",)
    used = {term for config in cases.METHODS.values() for term in config.used()}
    assert used == {"hard", "soft", "feature", "attention", "rkd_distance", "rkd_angle"}
    with pytest.raises(SystemExit, match=r"\['kd'\] are unknown"):
        scripts["distillation"].chosen_methods(["kd"])


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_says_the_same(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = scripts["distillation"]
    methods = script.chosen_methods(["KD", "four terms"])
    plan = script.Plan(data="digits", epochs=3, teacher_epochs=3, live=False, methods=dict(methods))
    script.compare(script.Bench(tmp_path, plan), list(methods), 2)
    first = capsys.readouterr().out
    assert first.count("KD, seed") == 2
    lines = (tmp_path / "runs.jsonl").read_text()
    script.compare(script.Bench(tmp_path, plan), list(methods), 2)
    second = capsys.readouterr().out
    assert "seed 0:" not in second
    assert first.endswith(second)
    assert (tmp_path / "runs.jsonl").read_text() == lines
    more = script.chosen_methods(["hard examples"])
    other = script.Plan(data="digits", epochs=3, teacher_epochs=3, live=False, methods=dict(more))
    script.Bench(tmp_path, other)  # a method more is no other plan
    with pytest.raises(SystemExit, match="use another --work"):
        script.Bench(tmp_path, other.model_copy(update={"epochs": 4}))


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_students_shrink_and_the_teacher_is_the_largest(
    scripts: dict[str, ModuleType], name: str
) -> None:
    case = scripts["distillation_cases"].CASES[name]
    small = {"num_train": 15, "num_validation": 15, "num_test": 15} if name == "shapes" else {}
    dataset = load_data(case.data.model_copy(update=small))
    sizes = [
        count_macs(design.network(dataset, case.stem_stride))
        for design in (case.teacher, *case.students)
    ]
    assert (np.diff(sizes) < 0).all()
