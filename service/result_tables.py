"""The result of a run as people read it on a terminal."""

from __future__ import annotations

from pathlib import Path

from latency_models import Cost
from search import PickSummary, RunSummary
from service.output import print_lines, print_table
from service.progress import duration


def print_summary(run_dir: Path, summary: RunSummary) -> None:
    """Picks, strategies beside each other, the cost model's error, and where everything is."""
    if summary.picks:
        rows = list(zip(ROWS, *(_pick_column(pick) for pick in summary.picks), strict=True))
        print_table(
            f"{summary.name}: picks of the Pareto front",
            ("", *(pick.pick for pick in summary.picks)),
            [row for row in rows if any(cell != "–" for cell in row[1:])],
        )
    print_table(
        "Strategies at equal budget (validation, short schedule)",
        ("strategy", "children", "best reward", "best accuracy %", "hypervolume", "failed"),
        [
            (
                session.name,
                f"{session.spent:g} of {session.budget:g}",
                "–" if session.best_reward is None else f"{session.best_reward:.4f}",
                "–" if session.best_accuracy is None else f"{100 * session.best_accuracy:.1f}",
                f"{session.hypervolume:.4g}",
                str(session.failed),
            )
            for session in summary.sessions
        ],
    )
    lines = []
    if (profile := summary.profile) is not None:
        lines.append(
            f"cost model on {profile.judged_on}: Spearman {profile.spearman:.3f}, "
            f"MAPE {100 * profile.mape:.1f} %, {100 * profile.within_10:.0f} % within ±10 %"
        )
    if found := summary.recalibrations:
        drifts = [100 * each.drift for each in found]
        lines.append(
            f"{sum(each.networks for each in found)} promising children measured at {len(found)} barriers: "
            f"predictions were off by {min(drifts):.1f} to {max(drifts):.1f} % (medians)"
        )
    spent = ", ".join(f"{name} {duration(s)}" for name, s in summary.seconds.items())
    if summary.utilisation is not None:
        spent += f"; workers trained {100 * summary.utilisation:.0f} % of the search's core time"
    lines.append(spent)
    lines += [f"{name:8} {run_dir / path}" for name, path in summary.paths.items()]
    print_lines(*lines)


ROWS = (
    "network",
    "accuracy %, search (validation)",
    "accuracy %, final (test)",
    "latency ms, measured",
    "latency ms, predicted",
    "latency ms, measured, no exit",
    "latency ms, predicted, no exit",
    "energy mJ",
    "parameters",
    "MACs",
    "bytes of weights",
    "samples leaving at each head %",
)


def _pick_column(pick: PickSummary) -> tuple[str, ...]:
    test = "–"
    if pick.test_accuracy is not None and pick.test_standard_error is not None:
        test = f"{100 * pick.test_accuracy:.1f} ± {100 * pick.test_standard_error:.1f}"
    from_table = pick.latency_predicted.source == "measured"
    return (
        pick.digest,
        f"{100 * pick.search_accuracy:.1f} ± {100 * pick.search_standard_error:.1f}",
        test,
        _cost(pick.latency_predicted if from_table else pick.latency_measured),
        _cost(None if from_table else pick.latency_predicted),
        _cost(pick.latency_worst_measured),
        _cost(None if from_table or pick.latency_worst_measured else pick.latency_worst_predicted),
        f"{pick.energy.value:.3g} ({pick.energy.source})",
        f"{pick.num_params:,}",
        f"{pick.macs:,}",
        "–" if pick.size_bytes is None else f"{pick.size_bytes:,}",
        " / ".join(f"{100 * share:.0f}" for share in pick.exit_shares),
    )


def _cost(cost: Cost | None) -> str:
    return "–" if cost is None else f"{cost.value:.4f} ± {cost.std:.4f}"
