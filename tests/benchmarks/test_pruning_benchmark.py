"""The pruning benchmark: its tables say what its records say, and it goes on where it stopped."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmarks.tables import cells

pytestmark = pytest.mark.usefixtures("one_thread")


def test_rows_are_compared_with_what_they_should_be(scripts: dict[str, ModuleType]) -> None:
    report = scripts["pruning_report"]
    row, whole, chance = report.Row, [0.90, 0.92], [0.80, 0.86]
    rows = [
        row(name="l2", accuracies=[0.88, 0.92], parameters=[50, 60], tuned=[0.91, 0.93]),
        row(name="random", accuracies=chance, parameters=[55, 55], tuned=[0.91, 0.93]),
    ]
    text = report.table("Title", rows, {"the whole": whole, "random": chance})
    assert text.startswith("Title\n")
    found = cells(text, "l2")
    assert found[:2] == ["55", "90.00 ± 2.83 %"]
    assert [cell.split()[0] for cell in found[2:]] == ["-1.00", "-2.00", "+7.00"]
    assert cells(text, "random")[-1] == ""  # not with itself


def test_the_picture_has_a_curve_a_name(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    script = scripts["pruning"]

    def run(name: str, share: float, accuracy: float) -> object:
        return script.Run(
            name=name, share=share, seed=0, num_params=int(1000 * share), macs=1,
            validation_accuracy=accuracy, test_accuracy=accuracy,
        )  # fmt: skip

    runs = {
        (name, share): [run(name, share, 0.9 - gap), run(name, share, 0.9 - gap)]
        for name, share, gap in [
            ("whole", 1.0, 0.0),
            ("whole, tuned as after one round", 1.0, 0.0),
            ("l2", 0.25, 0.125),
            ("l2", 0.5, 0.0625),
        ]
    }
    page = script.plot(runs, tmp_path / "plot.html").read_text()
    assert '"name":"l2","x":[50.0,25.0],"y":[-6.25' in page.replace(", ", ",")
    assert '"name":"whole"' not in page


@pytest.mark.parametrize(
    ("accuracies", "parameters", "expected"),
    [
        ([0.90, 0.90], [25, 24], "met: p: 25.0 % of the parameters (aim: 25), 0.50 points lost"),
        ([0.90, 0.90], [25, 26], "MISSED: p: 26.0 %"),
        ([0.89, 0.89], [25, 25], "MISSED: p: 25.0 % of the parameters (aim: 25), 1.50 points"),
    ],
)
def test_the_aim_is_size_and_accuracy(
    scripts: dict[str, ModuleType], accuracies: list[float], parameters: list[int], expected: str
) -> None:
    report = scripts["pruning_report"]
    pruned = report.Row(name="p", accuracies=accuracies, parameters=parameters)
    assert report.verdict(pruned, [0.90, 0.91], 0.25, 100).startswith(expected)


def test_each_control_is_there_for_what_it_controls(scripts: dict[str, ModuleType]) -> None:
    script = scripts["pruning"]
    everything = script.jobs_of(script.METHODS, script.SHARES)
    assert len(set(everything)) == len(everything) == 3 + 2 + 2 * 8
    assert script.jobs_of(["l2"], [0.5]) == [
        ("whole", 1.0),
        ("whole, tuned as after one round", 1.0),
        ("l2", 0.5),
    ]


@pytest.mark.slow
def test_tables_say_what_the_records_say(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--work", str(tmp_path), "--tiny", "--seeds", "2", "--shares", "0.25"]
    call += ["--methods", "l2", "from nothing", "three rounds"]
    script = scripts["pruning"]
    script.main(call)
    first = capsys.readouterr().out
    kept = (tmp_path / "shapes-2-1.jsonl").read_text()
    records = [json.loads(line) for line in kept.splitlines()]
    assert len(records) == 2 * 6
    of: dict[str, list[dict[str, float]]] = {}
    for record in records:
        of.setdefault(record["name"], []).append(record)
    accuracy = {
        name: [100 * record["test_accuracy"] for record in rows] for name, rows in of.items()
    }
    for name, values in accuracy.items():
        found = cells(first, name)
        mean, sd = statistics.fmean(values), statistics.stdev(values)
        assert found[1] == f"{mean:.2f} ± {sd:.2f} %"
    controls = {
        "l2": "whole, tuned as after one round",
        "from nothing": "whole, tuned as after one round",
        "three rounds": "whole, tuned as after three rounds",
    }
    for name, control in controls.items():
        against_whole, against_control = cells(first, name)[2:4]
        for text, other in ((against_whole, "whole"), (against_control, control)):
            gap = statistics.fmean(accuracy[name]) - statistics.fmean(accuracy[other])
            assert float(text.split()[0]) == pytest.approx(gap, abs=0.006)
        assert all(
            record["num_params"] <= 0.25 * of["whole"][0]["num_params"] for record in of[name]
        )
    assert of["l2"][0]["num_params"] == of["from nothing"][0]["num_params"]
    assert "half of the channels, batch 16" in first

    script.main(call)
    again = capsys.readouterr().out
    assert "seed 0:" not in again
    assert again.split("MACs")[0].strip() in first  # but for times
    assert (tmp_path / "shapes-2-1.jsonl").read_text() == kept
