"""The report's section on what the search learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.analysis import LEAST_CHILDREN, Analysis, Belief, Importance, Ranking
from search.markup import Html, paragraph, section, table
from search.page import Page
from search.plot_style import colour, new_figure, plain
from search.wording import UNKNOWN

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SHOWN = 12


def analysis_section(page: Page, analysis: Analysis) -> Html:
    """Which decisions mattered, what the policy believes, how well the surrogate ranked."""
    parts = [*_importance(page, analysis), *_beliefs(analysis), *_rungs(analysis)]
    if len(analysis.learnt.rankings) > 1:
        parts.append(
            page.figure(
                "surrogate",
                rankings_figure(analysis.learnt.rankings),
                description="Spearman correlation of left-out children's accuracies, by number of children",
            )
        )
        parts.append(
            paragraph(
                "How well the surrogate ranked each child from all others (Spearman correlation of left-out "
                "accuracies), as children came in.",
                kind="note",
            )
        )
    return section(f"What {analysis.session} learnt", *parts, key="learnt")


def _importance(page: Page, analysis: Analysis) -> list[Html]:
    if analysis.explained is None:
        return [
            paragraph(
                f"Fewer than {LEAST_CHILDREN} children, or all with the same reward: that does not tell which decisions mattered."
            )
        ]
    if not analysis.importances:
        return [
            paragraph(
                "The decisions alone do not explain the rewards of children left out "
                f"(R² {analysis.explained:.2f}): nothing is said of single ones."
            )
        ]
    shown = analysis.importances[:_SHOWN]
    rows = [
        [each.decision, f"{100 * each.share:.0f} %", each.best, f"{each.gain:+.3f}"]
        for each in shown
    ]
    return [
        page.figure(
            "importance",
            importance_figure(shown),
            description="Share of each decision in what explains the reward",
        ),
        table(
            ("decision", "importance", "best choice", "its mean reward above all"),
            rows,
            text_columns=(2,),
        ),
        paragraph(
            f"Decisions explain {100 * analysis.explained:.0f} % of the rewards' variance on children left out. The "
            "children are what the search chose, not a random sample, and decisions may act together: read it as a hint.",
            kind="note",
        ),
    ]


def _beliefs(analysis: Analysis) -> list[Html]:
    beliefs = analysis.learnt.beliefs
    if not beliefs:
        return []
    surest = sorted(beliefs, key=_surest, reverse=True)[:_SHOWN]
    rows = [[belief.decision, _choices_text(belief)] for belief in surest]
    return [
        table(("decision", "what the policy would choose"), rows, text_columns=(1,)),
        paragraph(
            "Mean probabilities over networks that the policy samples for this objective; the decisions that it is "
            "surest of.",
            kind="note",
        ),
    ]


def _rungs(analysis: Analysis) -> list[Html]:
    """What was trained at each rung, and how rungs agree; nothing without halving."""
    if not analysis.rungs:
        return []
    counts = [
        [each.name, f"{each.cost:.3g}", f"{each.children}", f"{each.failed}", f"{each.charged:.3g}"]
        for each in analysis.rungs
    ]
    correlations = [
        [
            f"{each.lower} → {each.upper}",
            f"{each.children}",
            UNKNOWN if each.spearman is None else f"{each.spearman:.2f}",
        ]
        for each in analysis.rung_correlations
    ]
    verdict = analysis.learnt.supernet
    return [
        *([] if verdict is None else [paragraph(f"{verdict.text[0].upper()}{verdict.text[1:]}.")]),
        table(("rung", "cost of a child", "children", "failed", "paid"), counts),
        table(("rungs", "children at both", "rank correlation (Spearman)"), correlations),
        paragraph(
            "Children are trained at the cheapest rung first, and promising ones at the next, up to the full search "
            "schedule. The correlation says how well accuracy at the lower rung foretold the order at the higher one; "
            "only promoted children are trained at both, which makes it look worse than it is over all children.",
            kind="note",
        ),
    ]


def _surest(belief: Belief) -> float:
    return max(belief.probabilities.values())


def _choices_text(belief: Belief) -> str:
    ranked = sorted(belief.probabilities.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{choice} {100 * share:.0f} %" for choice, share in ranked[:4])


def importance_figure(importances: Sequence[Importance]) -> Figure:
    """Horizontal bars, the largest on top."""
    import plotly.graph_objects as go

    height = 90 + 26 * len(importances)
    figure = new_figure("share of importance, %", "", height=height)
    ordered = list(reversed(importances))
    figure.add_trace(
        go.Bar(
            x=[100 * each.share for each in ordered],
            y=[plain(each.decision) for each in ordered],
            orientation="h",
            marker={"color": colour(0)},
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    )
    return figure


def rankings_figure(rankings: Sequence[Ranking]) -> Figure:
    """Rank correlation against the number of children."""
    import plotly.graph_objects as go

    figure = new_figure("children evaluated", "rank correlation, left out", height=320)
    figure.add_trace(
        go.Scatter(
            x=[each.children for each in rankings],
            y=[each.correlation for each in rankings],
            mode="lines+markers",
            line={"color": colour(0), "width": 2.5},
            hovertemplate="%{x} children: %{y:.3f}<extra></extra>",
        )
    )
    figure.update_yaxes(range=[min(0.0, *(each.correlation for each in rankings)), 1.02])
    return figure
