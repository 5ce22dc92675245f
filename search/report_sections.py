"""The report's tables and texts, one function a section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import pandas as pd

from latency_models import Cost
from search import wording
from search.markup import Html, element, joined, paragraph, section, table
from search.report_networks import colour_key
from search.report_plots import BAND, LatencyPair, front_rows, scored
from search.summary import PickSummary, RecalibrationSummary, RunSummary, merged_picks

_EXAMPLE = 160
"""Characters of a failed child's message that are shown."""


def header(summary: RunSummary) -> Html:
    """What was searched, when, for which device, on which data."""
    space = summary.space
    distinct = wording.count(space.distinct_high)
    if space.distinct_low != space.distinct_high:
        distinct = f"{wording.count(space.distinct_low)} to {distinct}"
    facts = {
        "Device": summary.device or "a table of measured results",
        "Data": _data_text(summary),
        "Space": f"{space.kind}: {space.num_decisions} decisions, {distinct} networks",
        "Objective": summary.objective,
        "Limits": summary.limits or "none",
        "Time": _time_text(summary),
    }
    items = [
        element("div", element("dt", name), element("dd", text)) for name, text in facts.items()
    ]
    return element(
        "header",
        element("h1", f"Netlathe run {summary.name}"),
        element(
            "p",
            f"Ended {_moment(summary.finished_at)}, seed {summary.seed}, netlathe {summary.netlathe_version}",
        ),
        element("dl", *items, class_="facts"),
    )


def _moment(iso: str) -> str:
    """ISO 8601 without the T and the seconds; anything else as it is."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return moment.strftime("%Y-%m-%d %H:%M ") + (moment.tzname() or "")


def _data_text(summary: RunSummary) -> str:
    data = summary.data
    if data is None:
        return wording.UNKNOWN
    size = " × ".join(map(str, data.input_shape))
    return (
        f"{data.name}: {data.train:,} + {data.validation:,} + {data.test:,} images of {size} "
        f"(train, validation, test), {data.num_classes} classes"
    )


def _time_text(summary: RunSummary) -> str:
    phases = ", ".join(f"{name} {wording.duration(s)}" for name, s in summary.seconds.items())
    total = wording.duration(sum(summary.seconds.values()))
    return f"{total} ({phases})" if phases else wording.UNKNOWN


def results(summary: RunSummary) -> Html:
    """The picks: what a user came for."""
    picks = merged_picks(summary.picks)
    if not picks:
        return section(
            "Result",
            paragraph(
                "Nothing was trained to the full schedule and exported: either no child was scored "
                "within the limits, or the run read its results from a table.",
                kind="warning",
            ),
            key="result",
        )
    notes = [
        paragraph(
            f"{pick.pick}: picked after the test was done, so its test accuracy is not an unbiased "
            "estimate.",
            kind="warning",
        )
        for pick in picks
        if pick.picked_after_test
    ]
    export = summary.paths.get("export")
    where = (
        [paragraph("The best one is exported to ", element("code", export), ".")] if export else []
    )
    return section(
        "Result",
        _pick_table(picks),
        *notes,
        *where,
        paragraph(
            "Test accuracy: full schedule, data that the search never saw, early exits taken. Search "
            "accuracy: validation data, the search's short schedule. ± is one standard error for "
            "accuracies, one standard deviation for costs. Energy is what its label says: measured, "
            "predicted, or estimated from published constants.",
            kind="note",
        ),
        key="result",
    )


def _pick_table(picks: Sequence[PickSummary]) -> Html:
    """One column a network, so that it fits narrow screens."""

    def with_source(value: Cost, unit: str) -> Html:
        return joined([wording.cost(value, unit), element("small", value.source)])

    rows: list[tuple[str, Callable[[PickSummary], str]]] = [
        ("test accuracy", lambda p: wording.percent(p.test_accuracy, p.test_standard_error)),
        ("… with no exit taken", lambda p: wording.percent(p.test_accuracy_no_exit)),
        ("search accuracy", lambda p: wording.percent(p.search_accuracy, p.search_standard_error)),
        ("latency, measured", lambda p: wording.cost(p.latency_measured, "ms")),
        ("latency, predicted", lambda p: wording.cost(p.latency_predicted, "ms")),
        (
            "latency, no exit taken",
            lambda p: with_source(p.latency_worst_measured or p.latency_worst_predicted, "ms"),
        ),
        ("energy", lambda p: with_source(p.energy, "mJ")),
        ("parameters", lambda p: wording.count(p.num_params)),
        ("MACs", lambda p: wording.count(p.macs)),
        ("bytes of weights", lambda p: wording.count(p.size_bytes)),
        ("digest", lambda p: element("code", p.digest)),
    ]
    cells = [[name, *(cell(pick) for pick in picks)] for name, cell in rows]
    known = [row for row in cells if any(cell != wording.UNKNOWN for cell in row[1:])]
    return table(("", *(pick.pick for pick in picks)), known)


def sessions(summary: RunSummary) -> Html:
    """The strategy and its controls in numbers."""
    columns = (
        "strategy",
        "paid of budget",
        "best reward",
        "best accuracy",
        "hypervolume",
        "front",
        "failed",
        "over a limit",
    )
    rows = [
        [
            joined([colour_key(index), s.name]),
            f"{s.spent:g} of {s.budget:g}",
            wording.number(s.best_reward),
            wording.percent(s.best_accuracy),
            wording.number(s.hypervolume),
            wording.count(s.front_size),
            wording.count(s.failed),
            wording.count(s.rejected),
        ]
        for index, s in enumerate(summary.sessions)
    ]
    note = (
        "Each session pays for every network it asks for first, even where another one had trained it "
        "already. Hypervolume: area (accuracy share × ms) between the front and one reference point for "
        "all of them; more is better. One run of each strategy is no ranking: compare several seeds with "
        "netlathe compare."
    )
    return joined([table(columns, rows), paragraph(note, kind="note")])


def front_table(trials: pd.DataFrame, session: str) -> Html:
    """All networks of the main session's front, folded away."""
    front = front_rows(scored(trials[trials["session"] == session]))
    rows = [
        [
            row["label"] if len(row["label"]) <= 90 else row["digest"],
            wording.percent(row["accuracy"]),
            f"{row['latency_ms']:.4g} ms",
            f"{row['energy_mj']:.4g} mJ",
            wording.count(None if pd.isna(row["num_params"]) else int(row["num_params"])),
            str(row["sequence"]),
        ]
        for row in front.to_dict("records")
    ]
    columns = ("network", "accuracy", "latency, predicted", "energy", "parameters", "proposal")
    return element(
        "details",
        element("summary", f"The front in accuracy and latency as a table ({len(rows)})"),
        table(columns, rows),
    )


def latency_text(
    summary: RunSummary, held_out: Sequence[LatencyPair], picks: Sequence[PickSummary]
) -> Html:
    """How good the cost model is, in numbers and for the picks."""
    parts: list[Html] = []
    profile = summary.profile
    if profile is not None:
        noise = ""
        if profile.noise_within_10 is not None:
            noise = (
                f" Measured twice, the same networks agree to {wording.percent(profile.noise_mape, digits=1)} "
                f"on average and {wording.percent(profile.noise_within_10, digits=0)} within ±10 %: no model "
                "can do better than that."
            )
        parts.append(
            paragraph(
                f"The cost model on {profile.judged_on}: rank correlation "
                f"(Spearman) {profile.spearman:.3f}, mean absolute error "
                f"{wording.percent(profile.mape, digits=1)}, "
                f"{wording.percent(profile.within_10, digits=0)} within ±{100 * BAND:.0f} %.{noise}"
            )
        )
    if summary.recalibrations:
        parts.append(_recalibrations(summary.recalibrations))
    measured = [p for p in merged_picks(picks) if p.latency_worst_measured is not None]
    rows = []
    for pick in measured:
        assert pick.latency_worst_measured is not None
        before, after = pick.latency_worst_predicted, pick.latency_worst_measured
        rows.append(
            [
                pick.pick,
                wording.cost(before, "ms"),
                wording.cost(after, "ms"),
                wording.change(after.value, before.value),
            ]
        )
    if rows:
        columns = ("network, no exit taken", "predicted", "measured", "prediction is off by")
        parts.append(table(columns, rows))
    if not held_out and not rows:
        parts.append(paragraph("Nothing was measured in this run.", kind="note"))
    return joined(parts)


def _recalibrations(found: Sequence[RecalibrationSummary]) -> Html:
    rows = [
        [
            each.session,
            str(each.count),
            str(each.networks),
            wording.percent(each.drift, digits=1),
            str(each.version),
        ]
        for each in found
    ]
    text = (
        "While the search ran, the most promising children were measured alone, and the cost model "
        "learned from them. Rewards keep the version that they were given."
    )
    columns = ("session", "after proposals", "measured", "off by (median)", "version from then on")
    return joined([paragraph(text), table(columns, rows)])


def failures(trials: pd.DataFrame) -> Html:
    """Children without a score: how many, why, and one message each."""
    bad = trials[trials["status"] != "ok"]
    if not len(bad):
        return section(
            "Failed children", paragraph("None failed, none was over a limit."), key="failures"
        )
    reason = bad["failure"].where(bad["status"] == "failed", _limit_name(bad["message"]))
    rows = []
    for (session, why), group in bad.groupby([bad["session"], reason], sort=True):
        message = str(group["message"].iloc[0])
        short = message if len(message) <= _EXAMPLE else message[:_EXAMPLE] + " …"
        rows.append(
            [
                str(session),
                str(why),
                wording.count(len(group)),
                f"{group['charged'].sum():g}",
                short,
            ]
        )
    columns = ("session", "reason", "proposals", "children charged", "first message")
    return section("Failed children", table(columns, rows, text_columns=(1, 4)), key="failures")


def _limit_name(messages: pd.Series[str]) -> pd.Series[str]:
    return "over limit: " + messages.str.split(" ").str[0]


def config(config_text: str, summary: RunSummary) -> Html:
    """The run file, and where things are."""
    paths = [[name, element("code", path)] for name, path in summary.paths.items()]
    return section(
        "Settings",
        *(
            [table(("what", "file or folder in the run"), paths, text_columns=(1,))]
            if paths
            else []
        ),
        element(
            "details", element("summary", "The run's configuration"), element("pre", config_text)
        ),
        key="settings",
    )
