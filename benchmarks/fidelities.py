"""Wall-clock time to equal quality: training cheaply first against training every child in full.

    python benchmarks/fidelities.py configs/shapes-halving.yaml --seeds 3 --work DIR

The config has `search.halving`. For each seed the same strategy with the same seed and budget searches twice, with
halving and without, one after the other on the same workers; the clock starts when workers are ready, and counts the
strategy's own time and the training of shared weights, where there is a rung of those. Quality is the best reward of a child
trained in full. Printed for each seed: when the search with
halving first had what the other one had at its end, and the reverse; at the end, from the mean curves over seeds, the
same once more. `paid` is in full children, which a busy machine does not disturb.

Each search leaves its record in --work, and is not done again: called again, the benchmark goes on with the search that it
was in, which begins anew.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from archspace import write_atomic
from child_models import Dataset
from envs import CostBounds
from evaluation import Evaluation, Evaluator, Ledger, make_objective
from search import make_strategy, rungs_of
from search.halving import HalvingSearch
from search.rung_correlations import rung_correlations, rung_counts
from search.strategy import BatchStrategy
from service.config_file import apply_overrides, read_mapping, validate
from service.evaluators import make_evaluator
from service.problem import Problem, make_problem, objective_bounds
from service.progress import RunProgress
from service.run_config import RunConfig
from service.run_folder import RunFolder
from service.shared_weights import shared_weights

Curve = list[tuple[float, float, float]]
"""(seconds, paid, best reward so far), growing."""
LOADING_S = 15.0
"""What workers are given to load torch before the clock starts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="device file and records")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = apply_overrides(read_mapping(arguments.config), arguments.overrides)
    config = validate(RunConfig, data, str(arguments.config))
    if config.search.halving is None:
        parser.error(f"{arguments.config} has no search.halving")
    halved, full = [], []
    with prepared(config, arguments.work) as bench:
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            pair = [
                record(bench, seed, arguments.work, with_halving=halving)
                for halving in ((True, False) if seed % 2 else (False, True))
            ]
            one, other = pair if seed % 2 else reversed(pair)
            halved.append(one)
            full.append(other)
            print_seed(seed, one, other)
    print_means([r["curve"] for r in halved], [r["curve"] for r in full])
    print_rungs(halved)


class Bench(NamedTuple):
    """What all searches share. `supernet_s`: what training shared weights took; 0 where there are none."""

    problem: Problem
    evaluator: Evaluator
    supernet: str
    supernet_s: float

    @property
    def supernet_cost(self) -> float:
        """In full children: by networks shown an image."""
        config = self.problem.config
        assert config.search.halving is not None
        rung = config.search.halving.supernet
        if rung is None:
            return 0.0
        shown = rung.training.epochs * rung.training.networks_a_step
        return shown / config.schedule.search_epochs


@contextmanager
def prepared(config: RunConfig, work: Path) -> Iterator[Bench]:
    """Data, device and workers, ready."""
    device = work / "device.json"
    problem = make_problem(config, device, on_progress=lambda what, share: None, save_to=device)
    progress, note = RunProgress(), work / "supernet-seconds.json"
    started = time.monotonic()
    shared = shared_weights(RunFolder(work), problem, progress)
    if not note.is_file():  # trained just now, and not read
        write_atomic(note, json.dumps(time.monotonic() - started if shared else 0.0))
    with make_evaluator(problem, (work / "teacher").absolute(), shared) as evaluator:
        evaluator.warm_up()
        time.sleep(LOADING_S)
        yield Bench(
            problem, evaluator, shared.digest if shared else "", json.loads(note.read_text())
        )


def record(bench: Bench, seed: int, work: Path, *, with_halving: bool) -> dict[str, Any]:
    """One search, or what is on record of it."""
    path = work / f"{'halving' if with_halving else 'full'}-{seed}.json"
    if not path.is_file():
        database = path.with_suffix(".db")
        # of a search that was interrupted: its clock cannot go on
        files = [f"{database.name}{end}" for end in ("", "-wal", "-shm")]
        for name in (*files, f"{database.stem}-mark.json"):
            database.with_name(name).unlink(missing_ok=True)
        found = search(bench, seed, database, with_halving=with_halving)
        write_atomic(path, json.dumps(found, indent=1))
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def search(bench: Bench, seed: int, database: Path, *, with_halving: bool) -> dict[str, Any]:
    """One strategy until its budget is spent: its curve, and what rungs said."""
    problem, evaluator = bench.problem, bench.evaluator
    config, dataset = problem.config, problem.dataset
    assert isinstance(dataset, Dataset)
    curve: Curve = []
    before_s = bench.supernet_s if with_halving else 0.0
    paid, best, busy = bench.supernet_cost if with_halving else 0.0, float("-inf"), 0.0

    def on_result(evaluation: Evaluation) -> None:
        nonlocal paid, best, busy
        paid += evaluation.charged
        busy += evaluation.result.train_seconds if evaluation.result else 0.0
        if evaluation.ok and evaluation.is_full and evaluation.reward > best:
            best = evaluation.reward
            curve.append((time.monotonic() - started, paid, best))

    bounds = CostBounds(problem.space, problem.cost_model, config.limits)
    with Ledger(f"sqlite:///{database}") as ledger:
        session = ledger.session(
            config.name,
            config.search.strategy.name,
            seed,
            budget=config.search.budget,
            space=problem.space,
            evaluator=evaluator,
            costing=problem.costing,
            objective=make_objective(config.objective, objective_bounds(problem)),
            limits=config.limits,
            fidelity=config.schedule.search,
            # children of another seed, too: the seeds shall be independent
            training_seed=config.training.seed + seed,
            on_result=on_result,
        )
        strategy = make_strategy(
            config.search.strategy, space=problem.space, bounds=bounds, seed=seed
        )
        rungs = (session.fidelity,)
        started = time.monotonic() - before_s
        if with_halving:
            assert config.search.halving is not None
            assert isinstance(strategy, BatchStrategy)
            rungs = rungs_of(
                config.search.halving, session.fidelity, dataset.input_shape, bench.supernet
            )
            HalvingSearch(strategy, config.search.halving, rungs).run(session)
        else:
            strategy.run(session)
        seconds = time.monotonic() - started
        history = session.history
    if not curve:
        raise SystemExit(
            f"seed {seed}: no child was trained in full, so there is nothing to compare; give a larger search.budget"
        )
    return {
        "seconds": seconds,
        "busy_seconds": busy,
        "paid": paid,
        "curve": curve,
        "workers": len(evaluator.status()),
        "rungs": [(c.name, c.cost, c.children, *rung_seconds(history, c.name, rungs)) for c in rung_counts(history, rungs)],
        "correlations": [(c.lower, c.upper, c.children, c.spearman) for c in rung_correlations(history, rungs)],
    }  # fmt: skip


def rung_seconds(history: list[Evaluation], name: str, rungs: tuple[Any, ...]) -> tuple[float]:
    """Mean training time of a rung's children."""
    times = [
        e.result.train_seconds
        for e in history
        if e.result and (e.fidelity or rungs[-1]).name == name
    ]
    return (sum(times) / len(times) if times else 0.0,)


def first_at(curve: Curve, reward: float) -> tuple[float, float] | None:
    """(seconds, paid) when the best reward first was at least `reward`; None: never."""
    return next(((s, p) for s, p, best in curve if best >= reward - 1e-12), None)


def print_seed(seed: int, halved: dict[str, Any], full: dict[str, Any]) -> None:
    ends = {"halving": halved["curve"][-1], "in full": full["curve"][-1]}
    print(f"seed {seed}:", end="")
    for name, (seconds, paid, best) in ends.items():
        whole = (halved if name == "halving" else full)["seconds"]
        print(
            f"  {name}: best {best:.4f} after {seconds:.0f} s (paid {paid:.1f}) of {whole:.0f} s",
            end="",
        )
    print()
    ours, theirs = halved["curve"], full["curve"]
    print_reach("  halving had the other's best", first_at(ours, theirs[-1][2]), theirs[-1])
    print_reach("  in full had the other's best", first_at(theirs, ours[-1][2]), ours[-1])


def print_reach(
    what: str, reached: tuple[float, float] | None, other: tuple[float, float, float]
) -> None:
    if reached is None:
        print(f"{what}: never")
        return
    seconds, paid = reached
    print(
        f"{what} after {seconds:.0f} s (paid {paid:.1f}), the other after {other[0]:.0f} s (paid {other[1]:.1f}): "
        f"{other[0] / seconds:.2f} × in time, {other[1] / paid:.2f} × in what was paid",
        flush=True,
    )


def print_means(halved: list[Curve], full: list[Curve]) -> None:
    """Of the mean best reward over seeds: when each first had the lower of the two ends."""
    for place, unit in ((0, "s"), (1, "paid")):
        means = [mean_curve(curves, place) for curves in (halved, full)]
        level = min(curve[-1][1] for curve in means)
        times = [next(t for t, best in curve if best >= level - 1e-12) for curve in means]
        print(
            f"mean over {len(full)} seeds: at the end {means[0][-1][1]:.4f} with halving, {means[1][-1][1]:.4f} in full; "
            f"{level:.4f} reached at {times[0]:.1f} and {times[1]:.1f} {unit}: {times[1] / times[0]:.2f} ×"
        )


def mean_curve(curves: list[Curve], place: int) -> list[tuple[float, float]]:
    """(seconds or paid, mean best so far), from where every seed has a child in full."""
    steps = sorted({point[place] for curve in curves for point in curve})
    first = max(curve[0][place] for curve in curves)
    found = []
    for step in (s for s in steps if s >= first):
        best = [max(p[2] for p in curve if p[place] <= step) for curve in curves]
        found.append((step, sum(best) / len(best)))
    return found


def print_rungs(halved: list[dict[str, Any]]) -> None:
    """Whether the stated costs are what training takes, how rungs agree, and how busy workers were."""
    print("rung                  cost   measured   children (of each seed)")
    for rows in zip(*(record["rungs"] for record in halved), strict=True):
        seconds = [row[3] for row in rows]
        in_full = [record["rungs"][-1][3] for record in halved]
        share = sum(seconds) / sum(in_full) if sum(in_full) else float("nan")
        counts = " ".join(str(row[2]) for row in rows)
        print(f"{rows[0][0]:20}  {rows[0][1]:.3f}  {share:.3f}      {counts}")
    for rows in zip(*(record["correlations"] for record in halved), strict=True):
        found = ", ".join(f"{row[3]:.2f} ({row[2]})" for row in rows if row[3] is not None)
        print(f"Spearman {rows[0][0]} → {rows[0][1]} (children at both): {found}")
    shares = [r["busy_seconds"] / (r["seconds"] * r["workers"]) for r in halved]
    print("workers trained: " + ", ".join(f"{100 * share:.0f} %" for share in shares))


if __name__ == "__main__":
    main()
