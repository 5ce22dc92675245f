"""Strategies, the run loop, and what a run leaves behind: tables, report, comparison, mirror."""

from search.bench import Goal, SearchBench, SearchRecord
from search.bench_strategies import ASYNCHRONOUS as ASYNCHRONOUS_BENCH_STRATEGIES
from search.bench_strategies import STRATEGIES as BENCH_STRATEGIES
from search.bench_summary import COLUMNS as BENCH_COLUMNS
from search.bench_summary import summary_rows as bench_rows
from search.bench_summary import write_plot as write_bench_plot
from search.compare import STRATEGY_COLUMNS, Comparison, compare_runs
from search.config import RecalibrationConfig, ScheduleConfig, SearchConfig
from search.export_run import export_pick, export_within
from search.halving_config import HalvingConfig, RungConfig, cost_of_one_in_full, rungs_of
from search.optuna_mirror import dashboard_command
from search.pareto import ParetoArchive, hypervolume_2d, pareto_front, picks
from search.parts import Phase, RunParts, SessionStarted
from search.recalibration import SearchPaused
from search.run_device import RunDevice
from search.run_errors import DamagedRun, NotARun, OtherVersion, RunFilesError
from search.run_loop import run_search
from search.space_table import (
    SpaceTable,
    impossible_limits,
    tabulate_choices,
    tabulate_space,
)
from search.stopping import DeadlinePassed, TooManyFailures
from search.strategies import StrategyConfig, make_strategy
from search.strategy import Strategy
from search.summary import PickSummary, RunSummary, read_summary
from search.trials import read_trials

__all__ = [
    "ASYNCHRONOUS_BENCH_STRATEGIES",
    "BENCH_COLUMNS",
    "BENCH_STRATEGIES",
    "STRATEGY_COLUMNS",
    "Comparison",
    "DamagedRun",
    "DeadlinePassed",
    "Goal",
    "HalvingConfig",
    "NotARun",
    "OtherVersion",
    "ParetoArchive",
    "Phase",
    "PickSummary",
    "RecalibrationConfig",
    "RunDevice",
    "RunFilesError",
    "RunParts",
    "RunSummary",
    "RungConfig",
    "ScheduleConfig",
    "SearchBench",
    "SearchConfig",
    "SearchPaused",
    "SearchRecord",
    "SessionStarted",
    "SpaceTable",
    "Strategy",
    "StrategyConfig",
    "TooManyFailures",
    "bench_rows",
    "compare_runs",
    "cost_of_one_in_full",
    "dashboard_command",
    "export_pick",
    "export_within",
    "hypervolume_2d",
    "impossible_limits",
    "make_strategy",
    "pareto_front",
    "picks",
    "read_summary",
    "read_trials",
    "run_search",
    "rungs_of",
    "tabulate_choices",
    "tabulate_space",
    "write_bench_plot",
]
