"""The report's drawings of the picked networks, and what leaves at their early exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archspace import Network
from search import wording
from search.markup import Html, element, joined, paragraph, section
from search.plot_style import colour
from search.summary import PickSummary, merged_picks


def drawings(picks: Sequence[PickSummary], networks: Mapping[str, Network]) -> Html:
    """The picked networks, drawn, with what leaves at their early exits."""
    from deploy import draw_architecture

    cards = []
    for pick in merged_picks(picks):
        network = networks.get(pick.digest)
        if network is None:
            continue
        cards.append(
            element(
                "article",
                element("h3", pick.pick),
                paragraph(
                    f"{wording.percent(pick.test_accuracy or pick.search_accuracy)} · "
                    f"{wording.cost(pick.latency, 'ms')} ({pick.latency.source}) · "
                    f"{wording.count(pick.num_params)} parameters",
                    kind="note",
                ),
                exit_shares(pick, network),
                element("div", Html(draw_architecture(network)), class_="scroll", tabindex="0"),
                class_="drawing",
            )
        )
    if not cards:
        return Html("")
    return section("The networks", element("div", *cards, class_="drawings"), key="networks")


def exit_shares(pick: PickSummary, network: Network) -> Html:
    """A bar of how many samples leave where."""
    if not network.exits:
        return paragraph("No early exits: every image runs through the whole network.", kind="note")
    names = [*(exit_.name for exit_ in network.exits), "final head"]
    rules = [f"entropy ≤ {t:.3g}" if t > 0 else "switched off" for t in pick.exit_thresholds]
    rows = list(zip(names, [*rules, "all others"], pick.exit_shares, strict=True))
    bar = [
        element("span", style=f"width:{100 * share:.2f}%;background:{colour(index)}", title=name)
        for index, (name, _, share) in enumerate(rows)
    ]
    lines = [
        element("li", colour_key(index), f"{name}: {wording.percent(share, digits=1)} ({rule})")
        for index, (name, rule, share) in enumerate(rows)
    ]
    return joined(
        [
            paragraph("Share of validation images that leave at each head:", kind="note"),
            element("div", *bar, class_="bar", aria_hidden="true"),
            element("ul", *lines, class_="exits"),
        ]
    )


def colour_key(index: int) -> Html:
    """A small square in the n-th colour, to stand before what it means."""
    return element("span", class_="key", style=f"background:{colour(index)}")
