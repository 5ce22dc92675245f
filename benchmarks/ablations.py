"""What each part of `ppo` is worth: the searcher without it, on a table of measured results.

    python benchmarks/ablations.py TABLE --objective pareto --accuracy COLUMN --latency COLUMN --energy COLUMN --seeds 12

Prints, a variant a line, regret (for `pareto`: hypervolume share) after each budget, mean ± standard deviation over
seeds, and the paired difference to `ppo` with its 95 % interval.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import torch
from ablations_replay import ReplayingPPO
from numpy.typing import NDArray
from scipy import stats
from table_bench import table_bench

from archspace import SearchSpace
from search import Goal
from search.surrogates import AccuracySurrogate, ArchitectureFeatures

Floats = NDArray[np.float64]


class OneHotFeatures(ArchitectureFeatures):
    """The decisions as they are written down, nothing of the graph."""

    def __call__(self, choices: Any) -> dict[str, Floats]:
        return {"literal": super().__call__(choices)["literal"]}


class OneHotSurrogate(AccuracySurrogate):
    """Knows no graph."""

    def __init__(self, space: SearchSpace, *args: Any, **kwargs: Any) -> None:
        super().__init__(space, *args, **kwargs)
        self.features = OneHotFeatures(space, literal=True)


@dataclass(frozen=True)
class Variant:
    """Strategy, what differs from its settings in the bench, and of what it is made."""

    strategy: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    with_graph: bool = True
    with_replay: bool = False


_POLICY_ALONE = {"random_candidates": 1, "mutants": 0}
VARIANTS: Mapping[str, Variant] = {
    "ppo": Variant("ppo"),
    "without the policy": Variant("surrogate"),
    "without the surrogate": Variant("ppo", {"least_correlation": 1.0}),
    "plain PPO": Variant("ppo-plain"),
    "without the gate": Variant("ppo", {"least_correlation": -1.0}),
    "one preference": Variant("ppo", {"sampled_preferences": 0.0}),
    "the policy's samples alone": Variant("ppo", _POLICY_ALONE),
    "no mutants": Variant("ppo", {"mutants": 0}),
    "no random candidates": Variant("ppo", {"random_candidates": 1}),
    "no optimism": Variant("ppo", {"optimism": 0.0}),
    "entropy 0.03": Variant("ppo", {"entropy": 0.03}),
    "without graph features": Variant("ppo", with_graph=False),
    "with replay": Variant("ppo", with_replay=True),
    "the policy's samples alone, with replay": Variant("ppo", _POLICY_ALONE, with_replay=True),
}


def run(options: argparse.Namespace, variant: str, seed: int) -> list[float]:
    """Regret, or hypervolume share, after each budget."""
    torch.set_num_threads(1)
    bench = table_bench(options, options.budgets)
    chosen = VARIANTS[variant]
    with ExitStack() as changed:
        if not chosen.with_graph:
            name = "search.strategies.surrogate_search.AccuracySurrogate"
            changed.enter_context(mock.patch(name, OneHotSurrogate))
        if chosen.with_replay:
            changed.enter_context(mock.patch("search.strategies.ppo.PPOSearch", ReplayingPPO))
        records = list(bench.run(chosen.strategy, seed, chosen.changes))
    if bench.goal == "pareto":
        return [record.hypervolume or 0.0 for record in records]
    return [record.regret for record in records]


def line(variant: str, found: Floats, reference: Floats) -> str:
    """Of (seeds, budgets) values."""
    cells = [f"{variant:39}"]
    for own, ppo in zip(found.T, reference.T, strict=True):
        half = stats.t.ppf(0.975, len(own) - 1) * (own - ppo).std(ddof=1) / len(own) ** 0.5
        difference = f"{(own - ppo).mean():+.4f} ± {half:.4f}" if variant != "ppo" else ""
        cells.append(f"{own.mean():.4f} ± {own.std(ddof=1):.4f} ({difference:17})")
    return " | ".join(cells)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--objective", choices=get_args(Goal), default="pareto")
    parser.add_argument("--accuracy", required=True)
    parser.add_argument("--latency")
    parser.add_argument("--energy")
    parser.add_argument("--budgets", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--seeds", type=int, default=12, help="2 or more")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    table_bench(options, options.budgets)  # wrong input is told here, not by a worker
    what = "hypervolume share" if options.objective == "pareto" else "regret"
    print(f"{what} after {options.budgets} (paired difference to ppo, 95 % interval)")
    names = list(dict.fromkeys(["ppo", *options.variants]))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context) as pool:
        jobs = {n: [pool.submit(run, options, n, s) for s in range(options.seeds)] for n in names}
        reference = np.array([job.result() for job in jobs["ppo"]])
        for name in names:
            found = np.array([job.result() for job in jobs[name]])
            print(line(name, found, reference), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
