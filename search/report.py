"""``report.html``: a run on one page that works offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from archspace import Network
from search import report_sections as sections
from search.analysis import Analysis
from search.markup import Html, element, paragraph, section
from search.page import Page
from search.report_analysis import analysis_section
from search.report_networks import drawings
from search.report_plots import (
    LatencyPair,
    best_so_far_figure,
    latency_figure,
    pareto_figure,
)
from search.summary import RunSummary

REPORT_FILE = "report.html"


def write_report(
    run_dir: Path,
    summary: RunSummary,
    trials: pd.DataFrame,
    *,
    networks: Mapping[str, Network],
    held_out: Sequence[LatencyPair] = (),
    config_text: str = "",
    latency_limit_ms: float | None = None,
    analysis: Analysis | None = None,
) -> Path:
    """Write the page into the run's folder and return its path.

    Args:
        run_dir: where ``report.html`` goes; replaced whole or not at all.
        summary: what the run found.
        trials: table of `search.trials.trials_frame`; rows of one session in order of proposal.
        networks: the picked networks by digest, with their exits' thresholds.
        held_out: latencies of the networks that the profile kept for testing its model.
        config_text: the run's configuration, shown as it is.
        latency_limit_ms: drawn as a line.
        analysis: what the search learnt; None leaves that section out.
    """
    page = Page(f"Netlathe run {summary.name}")
    page.add(sections.header(summary), sections.results(summary))
    page.add(_front(page, summary, trials, latency_limit_ms))
    page.add(_progress(page, summary, trials))
    if analysis is not None:
        page.add(analysis_section(page, analysis))
    page.add(_latency(page, summary, held_out))
    page.add(drawings(summary.picks, networks))
    page.add(sections.failures(trials), sections.config(config_text, summary))
    return page.write(run_dir / REPORT_FILE)


def _front(
    page: Page, summary: RunSummary, trials: pd.DataFrame, latency_limit_ms: float | None
) -> Html:
    drawn = pareto_figure(trials, summary.session, summary.picks, latency_limit_ms=latency_limit_ms)
    outside = []
    if drawn.hidden:
        number = f"{drawn.hidden} children" if drawn.hidden > 1 else "One child"
        outside = [
            paragraph(
                f"{number} below {100 * drawn.floor:.1f} % "
                f"{'are' if drawn.hidden > 1 else 'is'} outside this view; a double click shows all.",
                kind="note",
            )
        ]
    return section(
        "Accuracy against latency",
        paragraph(
            "Every network that was trained, by validation accuracy and predicted latency, early exits taken. "
            f"The line is the front of {summary.session}: none of its own networks is both faster and better."
        ),
        page.figure(
            "pareto",
            drawn.figure,
            description="Scatter of validation accuracy against predicted latency, with the Pareto front",
        ),
        *outside,
        sections.front_table(trials, summary.session),
        key="front",
    )


def _progress(page: Page, summary: RunSummary, trials: pd.DataFrame) -> Html:
    figures = [
        page.figure(
            column,
            best_so_far_figure(trials, column),
            description=f"Best {column} so far against the number of children paid for, by session",
        )
        for column in ("reward", "accuracy")
    ]
    used = []
    if summary.utilisation is not None:
        used = [
            paragraph(
                f"{100 * summary.utilisation:.0f} % of the cores' time during the search went into training.",
                kind="note",
            )
        ]
    return section(
        f"{summary.session} beside its controls",
        element("div", *figures, class_="pair"),
        sections.sessions(summary),
        *used,
        key="controls",
    )


def _latency(page: Page, summary: RunSummary, held_out: Sequence[LatencyPair]) -> Html:
    text = sections.latency_text(summary, held_out, summary.picks)
    figure = []
    if held_out or any(pick.latency_worst_measured for pick in summary.picks):
        figure = [
            page.figure(
                "latency",
                latency_figure(held_out, summary.picks),
                description="Predicted against measured latency; the band is ten per cent wide each way",
            )
        ]
    return section("Latency: predicted against measured", text, *figure, key="latency")
