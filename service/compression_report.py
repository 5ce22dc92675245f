"""``report.html`` of a compression: one picture, and the figures before and after each step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compress import Compressed, Figures
from search.markup import element, paragraph, section, table
from search.page import Page
from search.plot_style import colour, new_figure, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

REPORT_FILE = "report.html"
COLUMNS = (
    "model",
    "accuracy, %",
    "parameters",
    "MACs",
    "size, KB",
    "ms, batch 1",
    "ms, batch 16",
    "energy, mJ",
    "runs in",
)


def write_compression_report(folder: Path, compressed: Compressed, device: str, data: str) -> Path:
    """Write the page into `folder`, whole or not at all, and return its path."""
    page = Page("Netlathe compression")
    first, last = compressed.steps[0].before, compressed.steps[-1].after
    page.add(
        element(
            "header",
            element("h1", "Compression"),
            element("p", f"{data}, on {device}"),
        ),
        section(
            "Result",
            paragraph(_result(compressed, first, last)),
            *(
                paragraph(note[0].upper() + note[1:] + ".", kind="warning")
                for note in compressed.notes
            ),
            page.figure(
                "way", steps_figure(compressed), description="Accuracy against latency, by step"
            ),
            paragraph(
                "Accuracy on validation data. All models were timed in one process, in interleaved passes. "
                f"Energy is {last.energy_source}. A marker grows with the file's size."
            ),
            key="result",
        ),
        section("Steps", table(COLUMNS, figure_rows(compressed)), key="steps"),
    )
    return page.write(folder / REPORT_FILE)


def _result(compressed: Compressed, first: Figures, last: Figures) -> str:
    return (
        f"{first.latency_ms_b1 / last.latency_ms_b1:.2f} times as fast at batch 1, "
        f"{first.latency_ms_b16 / last.latency_ms_b16:.2f} at batch 16; "
        f"{first.size_bytes / last.size_bytes:.1f} times smaller; test accuracy "
        f"{100 * compressed.test_before:.2f} % before, {100 * compressed.test_after:.2f} % after."
    )


def figure_rows(compressed: Compressed) -> list[list[str]]:
    """A row a model: what was given, then what each step made of it."""
    models = [("given", compressed.steps[0].before)]
    models += [
        (f"{number}. {step.name}", step.after)
        for number, step in enumerate(compressed.steps, start=1)
    ]
    return [
        [
            name,
            f"{100 * figures.accuracy:.2f}",
            f"{figures.num_params:,}",
            f"{figures.num_macs:,}",
            f"{figures.size_bytes / 1000:.1f}",
            f"{figures.latency_ms_b1:.4f}",
            f"{figures.latency_ms_b16:.4f}",
            f"{figures.energy_mj:.2g} ({figures.energy_source})",
            figures.runs,
        ]
        for name, figures in models
    ]


def steps_figure(compressed: Compressed) -> Figure:
    """Accuracy against latency: the way from what was given to the last step, by batch size."""
    import plotly.graph_objects as go

    models = [compressed.steps[0].before, *(step.after for step in compressed.steps)]
    percents = [100 * each.accuracy for each in models]
    figure = new_figure("latency of a call (ms)", "validation accuracy (%)", height=440)
    # from 0, and a point of accuracy on either side: what is hardly different should look so
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(range=[min(percents) - 1, max(percents) + 1])
    names = ["given", *(f"{n}. {step.name}" for n, step in enumerate(compressed.steps, start=1))]
    for index, batch in enumerate((1, 16)):
        latencies = [getattr(each, f"latency_ms_b{batch}") for each in models]
        figure.add_trace(
            go.Scatter(
                name=f"batch {batch}",
                x=latencies,
                y=percents,
                text=[plain(name) for name in names],
                mode="lines+markers+text",
                textposition="top center",
                line={"color": colour(index), "width": 1.5},
                marker={
                    "size": [8 + 16 * each.size_bytes / models[0].size_bytes for each in models]
                },
                hovertemplate="%{text}: %{y:.2f} % at %{x:.4g} ms",
                visible=True if batch == 1 else "legendonly",
            )
        )
    return figure
