"""The report: complete, harmless whatever is in its strings, and without a single request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluation import FailureReason
from latency_models import Cost
from search import wording
from search.markup import Html, element, table
from search.page import Page
from search.plot_style import new_figure
from search.report import write_report
from search.report_plots import best_so_far, front_rows, latency_figure, pareto_figure, scored
from search.trials import trials_frame
from tests.search.run_samples import SampleRun, make_evaluation

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>&\"'"


class Reader(HTMLParser):
    """Elements with attributes, scripts apart from text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            attributes, so_far = self.scripts[-1]
            self.scripts[-1] = attributes, so_far + data
        elif not self._open or self._open[-1] != "style":
            self.text += data

    @property
    def figures(self) -> dict[str, dict]:
        return {a["data-figure"]: json.loads(s) for a, s in self.scripts if a.get("data-figure")}


def write(run: SampleRun, directory: Path, **changes) -> str:
    arguments = {
        "summary": run.summary,
        "trials": run.trials,
        "networks": run.networks,
        "held_out": run.held_out,
        "config_text": "name: digits\n",
    } | changes
    path = write_report(directory, arguments.pop("summary"), arguments.pop("trials"), **arguments)
    assert path == directory / "report.html"
    assert [p.name for p in directory.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(sample_run, tmp_path_factory):
    return Reader(write(sample_run, tmp_path_factory.mktemp("run")))


def test_everything_a_reader_wants_is_there(page, sample_run):
    sections = [a["id"] for tag, a in page.elements if tag == "section"]
    assert sections == [
        "result",
        "front",
        "controls",
        "latency",
        "networks",
        "failures",
        "settings",
    ]
    for pick in sample_run.summary.picks:
        assert pick.digest in page.text
        assert wording.percent(pick.test_accuracy, pick.test_standard_error) in page.text
        assert wording.cost(pick.latency_measured, "ms") in page.text
    for word in (
        "test device",
        "digits",
        "2026-01-31 14:05 UTC",
        "estimated",
        "NONFINITE",
        "48 of 48",
    ):
        assert word in page.text
    assert set(page.figures) == {"pareto", "reward", "accuracy", "latency"}
    places = [a["id"] for _, a in page.elements if (a.get("id") or "").startswith("figure-")]
    assert set(places) == {f"figure-{key}" for key in page.figures}
    drawings = sum(tag == "svg" for tag, _ in page.elements)
    assert drawings == len({p.digest for p in sample_run.summary.picks})


def test_nothing_is_fetched(page):
    fetching = {"link", "iframe", "object", "embed", "base", "audio", "video", "img", "image"}
    assert not [tag for tag, _ in page.elements if tag in fetching]
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"handler on {tag}"
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value is not None
                assert value.startswith("#"), f"{tag} {name}={value}"


def test_only_the_page_s_own_scripts_may_run(page):
    policy = next(
        a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    running = [text for a, text in page.scripts if a.get("type") != "application/json"]
    assert len(running) == 2
    for text in running:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    (scripts,) = re.findall(r"script-src ([^;]*);", policy)
    assert "unsafe" not in scripts


def test_strings_from_outside_stay_text(tmp_path):
    run = SampleRun(children=4, name=EVIL)
    summary = run.summary
    evil_picks = tuple(replace(p, pick=EVIL, label=EVIL, digest=EVIL) for p in summary.picks)
    history = [make_evaluation(0, label=EVIL, digest=EVIL)]
    history += [make_evaluation(1, failure=FailureReason.CRASH, message=EVIL)]
    history += [make_evaluation(2, rejected=EVIL)]
    summary = replace(
        summary,
        device=EVIL,
        objective=EVIL,
        limits=EVIL,
        finished_at=EVIL,
        netlathe_version=EVIL,
        session="ppo-0",
        picks=evil_picks[:1],
        data=replace(summary.data, name=EVIL),
        paths={EVIL: EVIL, "export": EVIL},
        seconds={EVIL: 1.0},
        sessions=tuple(replace(s, strategy=EVIL) for s in summary.sessions),
    )
    text = write(
        run,
        tmp_path,
        summary=summary,
        trials=trials_frame({"ppo-0": history, f"{EVIL}-1": history}, fidelity=EVIL),
        config_text=EVIL,
    )
    page = Reader(text)
    assert sum(tag == "script" for tag, _ in page.elements) == 6, "four figures, plotly, our own"
    assert not any(tag == "img" for tag, _ in page.elements)
    assert page.text.count("<script>document.title='owned'") >= 10, "shown as it stands"
    for figure in page.figures.values():
        for trace in figure["data"]:
            assert "<" not in (trace.get("name") or "")
            for row in trace.get("customdata") or []:
                assert "<" not in row[0]


def test_run_in_which_nothing_worked(sample_run, tmp_path):
    history = [make_evaluation(0, failure=FailureReason.TIMEOUT, message="60 s")]
    summary = replace(sample_run.summary, picks=(), profile=None, data=None, device="", seconds={})
    text = write(
        sample_run,
        tmp_path,
        summary=summary,
        trials=trials_frame({"ppo-0": history}, fidelity="search"),
        networks={},
        held_out=[],
    )
    page = Reader(text)
    assert "Nothing was trained to the full schedule" in page.text
    assert "TIMEOUT" in page.text
    assert "Nothing was measured in this run." in page.text


def test_run_over_a_table_has_picks_without_tests_or_measurements(sample_run, tmp_path):
    picks = tuple(
        replace(p, test_accuracy=None, test_accuracy_no_exit=None, latency_measured=None,
                latency_worst_measured=None)
        for p in sample_run.summary.picks
    )  # fmt: skip
    summary = replace(sample_run.summary, picks=picks, data=None, profile=None)
    page = Reader(write(sample_run, tmp_path, summary=summary, held_out=[]))
    assert "latency, predicted" in page.text
    assert "latency, measured" not in page.text
    assert "latency" not in page.figures


def test_picked_after_the_test_is_said(sample_run, tmp_path):
    picks = [replace(p, picked_after_test=True) for p in sample_run.summary.picks[:1]]
    page = Reader(write(sample_run, tmp_path, summary=replace(sample_run.summary, picks=picks)))
    assert "not an unbiased estimate" in page.text


def test_pareto_figure_has_every_child_the_front_and_the_picks(sample_run):
    drawn = pareto_figure(
        sample_run.trials, "ppo-0", sample_run.summary.picks, latency_limit_ms=2.0
    )
    traces = {trace.name: trace for trace in drawn.figure.data}
    children = scored(sample_run.trials)
    for session in sample_run.sessions:
        assert len(traces[session].x) == (children["session"] == session).sum()
    front = front_rows(children[children["session"] == "ppo-0"])
    assert list(traces["Pareto front"].x) == list(front["latency_ms"])
    best = next(p for p in sample_run.summary.picks if p.pick.startswith("best"))
    assert traces["best"].x == (best.latency_predicted.value,)
    low, high = drawn.figure.layout.yaxis.range
    outside = (100 * children["accuracy"] < 100 * drawn.floor).sum()
    assert drawn.hidden == outside > 0
    assert low < 100 * front["accuracy"].min()
    assert high > 100 * front["accuracy"].max()


def test_best_so_far_counts_what_was_paid():
    history = [
        make_evaluation(0, reward=0.3),
        make_evaluation(1, failure=FailureReason.OOM, reward=-1.0),
        make_evaluation(1, reward=0.3, is_new=False),
        make_evaluation(2, rejected="size", reward=-1.0),
        make_evaluation(3, reward=0.2),
        make_evaluation(4, reward=0.9),
        make_evaluation(5, failure=FailureReason.OOM, reward=-1.0),
    ]
    steps = best_so_far(trials_frame({"ppo-0": history}, fidelity="search"), "reward")
    assert dict(steps) == {1: 0.3, 2: 0.3, 3: 0.3, 4: 0.9, 5: 0.9}


def test_latency_figure_has_one_scale_and_a_ten_per_cent_band(sample_run):
    figure = latency_figure(sample_run.held_out, sample_run.summary.picks)
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    assert figure.layout.yaxis.scaleanchor == "x"
    band = figure.data[0]
    ratios = np.array(band.y)[np.array(band.x) > 0] / np.array(band.x)[np.array(band.x) > 0]
    assert set(np.round(ratios, 9)) == {0.9, 1.1}
    low, high = figure.layout.xaxis.range
    for pair in sample_run.held_out:
        assert low <= pair.measured_ms <= high
        assert low <= pair.predicted_ms <= high


def test_markup_escapes_all_but_its_own():
    assert element("p", EVIL).count("<") == 2
    assert element("p", title=EVIL).count("<") == 2
    assert '"' not in element("p", title='"')[len('<p title="') : -len('"></p>')]
    inner = element("b", "x")
    assert element("p", inner) == "<p><b>x</b></p>"
    assert isinstance(inner, Html)
    assert element("p", inner + EVIL).count("<") == 2, "a concatenation is plain text again"
    assert Reader(table(("a", EVIL), [[EVIL, EVIL]])).text.count("owned") == 3


def test_page_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    page = Page("first")
    page.write(path)
    before = path.read_text()
    page.add(page.figure("x", new_figure("x", "y"), description="nothing"))

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        page.write(path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wording.percent(0.97222, 0.0078), "97.22 ± 0.78 %"),
        (wording.percent(None), "–"),
        (wording.cost(Cost(1.23456, 0.0123, "measured"), "ms"), "1.235 ± 0.012 ms"),
        (wording.cost(Cost(123.4, 12.3, "measured"), "ms"), "123 ± 12 ms"),
        (wording.cost(Cost(1.23456, 0.0, "measured"), "ms"), "1.235 ms"),
        (wording.cost(None, "ms"), "–"),
        (wording.count(1234567), "1,234,567"),
        (wording.count(32 * 10**20), "≈ 3.2 × 10²¹"),
        (wording.change(1.0, 1.1), "+10.0 %"),
        (wording.duration(59.7), "1 min 00 s"),
        (wording.duration(7500), "2 h 05 min"),
    ],
)
def test_wording(text, expected):
    assert text == expected


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_all_figures(sample_run, tmp_path):
    write(sample_run, tmp_path)
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=8000",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True,
        timeout=120,
        check=True,
    )
    drawn = Reader(done.stdout.decode())
    assert sum("svg-container" in (a.get("class") or "") for _, a in drawn.elements) == 4
    assert b"Refused to" not in done.stderr
