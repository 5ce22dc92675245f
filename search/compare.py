"""Runs side by side: what each session found, what was picked, and how strategies do over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from search import wording
from search.compare_plots import progress_figure, runs_figure
from search.markup import Html, paragraph, section, table
from search.page import Page
from search.pareto import hypervolume_2d
from search.report_plots import front_rows, scored
from search.run_errors import NotARun
from search.summary import PickSummary, RunSummary, SessionSummary, merged_picks, read_summary
from search.trials import read_trials

COLUMNS = (
    "run",
    "what",
    "accuracy",
    "latency ms",
    "energy mJ",
    "parameters",
    "best reward",
    "children",
    "front",
    "hypervolume",
)
STRATEGY_COLUMNS = ("strategy", "runs", "best reward", "best accuracy", "hypervolume", "first in")


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A finished run as its files say. `title` is unique among the runs compared."""

    title: str
    summary: RunSummary
    trials: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation (0 for one value) over runs."""

    mean: float
    std: float

    def text(self, digits: int = 4) -> str:
        return f"{self.mean:.{digits}f} ± {self.std:.{digits}f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategyRow:
    """One strategy over all sessions that it had at one budget; accuracies are shares 0-1.

    `first_in`: in how many of the runs that had other strategies too its best reward was the highest (ties
    count for each).
    """

    strategy: str
    budget: float
    runs: int
    best_reward: Spread
    best_accuracy: Spread
    hypervolume: Spread
    first_in: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: in the order given.
        reference: (accuracy share, latency in ms) of all hypervolumes here: 0, and the slowest network of all.
        strategies: one row a strategy and budget.
        notes: what makes the runs hard to compare: other data, devices, spaces, objectives.
    """

    runs: tuple[LoadedRun, ...]
    reference: tuple[float, float]
    strategies: tuple[StrategyRow, ...]
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Titles of `rows`."""
        return COLUMNS

    @property
    def rows(self) -> list[list[str]]:
        """A row a session and a row a pick, as text. Picks: test accuracy and measured latency, where there are."""
        rows = []
        for run in self.runs:
            rows += [self._session_row(run, s) for s in run.summary.sessions]
            rows += [_pick_row(run, pick) for pick in merged_picks(run.summary.picks)]
        return rows

    @property
    def strategy_rows(self) -> list[list[str]]:
        """`strategies` as text, under STRATEGY_COLUMNS; ± is one standard deviation over runs."""
        return [
            [
                f"{row.strategy}, {row.budget:g} children",
                str(row.runs),
                row.best_reward.text(),
                f"{100 * row.best_accuracy.mean:.2f} ± {100 * row.best_accuracy.std:.2f} %",
                row.hypervolume.text(),
                f"{row.first_in} of {row.runs}",
            ]
            for row in self.strategies
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: numbers, not text."""
        return {
            "runs": [{"title": run.title, "summary": asdict(run.summary)} for run in self.runs],
            "hypervolume_reference": list(self.reference),
            "strategies": [asdict(row) for row in self.strategies],
            "notes": list(self.notes),
        }

    def write_picture(self, path: Path) -> Path:
        """One offline HTML file: Pareto fronts, progress by strategy, and both tables."""
        page = Page("Netlathe runs compared")
        page.add(
            section(
                "Runs compared",
                *(paragraph(note, kind="warning") for note in self.notes),
                page.figure(
                    "runs",
                    runs_figure([(run.title, run.summary, run.trials) for run in self.runs]),
                    description="Pareto fronts of each run's sessions: accuracy against latency",
                ),
                table(COLUMNS, self.rows, text_columns=(1,)),
                key="runs",
            ),
            self._strategies_section(page),
        )
        return page.write(path)

    def _strategies_section(self, page: Page) -> Html:
        figure = progress_figure([run.trials for run in self.runs])
        return section(
            "Strategies",
            page.figure(
                "progress",
                figure,
                description="Mean best reward so far against children paid for, by strategy",
            ),
            table(STRATEGY_COLUMNS, self.strategy_rows),
            paragraph(
                "± and the bands: one standard deviation over runs. First in: runs in which the "
                "strategy's best reward was the highest.",
                kind="note",
            ),
            key="strategies",
        )

    def _session_row(self, run: LoadedRun, session: SessionSummary) -> list[str]:
        best = _best_child(run.trials, session.name)
        volume = _hypervolume(run.trials, session.name, self.reference)
        return [
            run.title,
            session.name,
            wording.percent(session.best_accuracy),
            "–" if best is None else f"{best['latency_ms']:.4g}",
            "–" if best is None else f"{best['energy_mj']:.4g}",
            "–" if best is None or pd.isna(best["num_params"]) else f"{int(best['num_params']):,}",
            wording.number(session.best_reward),
            f"{session.spent:g}/{session.budget:g}",
            str(session.front_size),
            wording.number(volume),
        ]


def compare_runs(run_dirs: Sequence[Path]) -> Comparison:
    """Read finished runs and put them side by side.

    Raises:
        NotARun: a folder is no finished run, or none was given.
        DamagedRun, OtherVersion: its files cannot be read.
    """
    if not run_dirs:
        raise NotARun("expected at least one run folder to compare, got none")
    titles = _titles(run_dirs)
    runs = tuple(
        LoadedRun(title, read_summary(path), read_trials(path))
        for title, path in zip(titles, run_dirs, strict=True)
    )
    children = [scored(run.trials)["latency_ms"].max() for run in runs]
    slowest = max((float(value) for value in children if pd.notna(value)), default=1.0)
    reference = (0.0, slowest)
    return Comparison(
        runs=runs,
        reference=reference,
        strategies=_strategies(runs, reference),
        notes=_differences(runs),
    )


def _titles(run_dirs: Sequence[Path]) -> list[str]:
    """Folder names; where two are equal, whole paths."""
    names = [path.resolve().name for path in run_dirs]
    if len(set(names)) == len(names):
        return names
    return [str(path) for path in run_dirs]


def _differences(runs: Sequence[LoadedRun]) -> tuple[str, ...]:
    views = {
        "data": {r.summary.data.digest if r.summary.data else "" for r in runs},
        "devices": {r.summary.device for r in runs},
        "search spaces": {r.summary.space.digest for r in runs},
        "objectives": {r.summary.objective for r in runs},
    }
    notes = [
        f"The runs have different {what}: compare their numbers with care."
        for what, found in views.items()
        if len(found) > 1
    ]
    return tuple(notes)


def _strategies(
    runs: Sequence[LoadedRun], reference: tuple[float, float]
) -> tuple[StrategyRow, ...]:
    found: dict[tuple[str, float], list[tuple[LoadedRun, SessionSummary]]] = {}
    for run in runs:
        for session in run.summary.sessions:
            if session.best_reward is not None and session.best_accuracy is not None:
                found.setdefault((session.strategy, session.budget), []).append((run, session))
    return tuple(
        StrategyRow(
            strategy=strategy,
            budget=budget,
            runs=len(pairs),
            best_reward=_spread([s.best_reward or 0.0 for _, s in pairs]),
            best_accuracy=_spread([s.best_accuracy or 0.0 for _, s in pairs]),
            hypervolume=_spread([_hypervolume(r.trials, s.name, reference) for r, s in pairs]),
            first_in=sum(_is_first(run, session) for run, session in pairs),
        )
        for (strategy, budget), pairs in found.items()
    )


def _is_first(run: LoadedRun, session: SessionSummary) -> bool:
    rewards = [s.best_reward for s in run.summary.sessions if s.best_reward is not None]
    return len(rewards) > 1 and session.best_reward == max(rewards)


def _spread(values: Sequence[float]) -> Spread:
    series = pd.Series(values, dtype="float64")
    return Spread(float(series.mean()), float(series.std(ddof=1)) if len(values) > 1 else 0.0)


def _best_child(trials: pd.DataFrame, session: str) -> pd.Series[Any] | None:
    """The most accurate child of a session; ties: the faster, then the earlier one."""
    own = scored(trials[trials["session"] == session])
    if not len(own):
        return None
    order = ["accuracy", "latency_ms", "sequence"]
    return own.sort_values(order, ascending=[False, True, True]).iloc[0]


def _hypervolume(trials: pd.DataFrame, session: str, reference: tuple[float, float]) -> float:
    front = front_rows(scored(trials[trials["session"] == session]))
    return hypervolume_2d(zip(front["accuracy"], front["latency_ms"], strict=True), reference)


def _pick_row(run: LoadedRun, pick: PickSummary) -> list[str]:
    tested = pick.test_accuracy is not None
    accuracy = (
        wording.percent(pick.test_accuracy, pick.test_standard_error)
        if tested
        else wording.percent(pick.search_accuracy, pick.search_standard_error)
    )
    return [
        run.title,
        f"{pick.pick} ({'test, ' if tested else ''}{pick.latency.source})",
        accuracy,
        f"{pick.latency.value:.4g}",
        f"{pick.energy.value:.4g} ({pick.energy.source})",
        f"{pick.num_params:,}",
        "",
        "",
        "",
        "",
    ]
