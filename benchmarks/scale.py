"""How a search does on 8, 64 and 256 workers: simulated, with children that take time on a virtual clock alone.

    python benchmarks/scale.py                    # the table; about eight minutes
    python benchmarks/scale.py --memory           # the controller's memory up to 20,000 trials; --memory N: up to N
    python benchmarks/scale.py --only random-8    # one row

Ledger (SQLite), session, scoring, strategy, `RayEvaluator` and `RayPool` are the product's own; only the cluster is a fake
(`virtual_cluster.py`). Children take 10 minutes on average, log-normal around what their MACs say (σ 0.5: 0.3 the child's own, 0.4
anew at each try); of the tries 3 % crash with their worker and 1 % hang; of the children 1 % give NaN.

utilisation: worker-seconds of the tries that gave a result / (workers · makespan); at best: see `at_best`. dispatch: from a worker's end of work, or a
batch's, to its next task, in the controller's CPU time. lost, doubled: proposals without a result in the ledger, or children whose result came twice.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import logging
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from virtual_cluster import Faults, VirtualCluster, VirtualEvaluator

from archspace import StagedSpace, StagedSpaceConfig
from child_models import DigitsConfig, TrainingConfig, count_macs, load_data
from envs import CostBounds
from evaluation import (
    Costing,
    Evaluation,
    EvaluatorConfig,
    Fidelity,
    Ledger,
    LedgerSession,
    LimitsConfig,
    MinMaxConfig,
    NetworkCosts,
    ObjectiveBounds,
    make_objective,
)
from latency_models import Cost
from search import HalvingConfig
from search.halving import HalvingSearch
from search.halving_config import rungs_of
from search.strategies import EvolutionConfig, PPOConfig, RandomConfig, make_strategy
from search.windowed_search import WindowedSearch

MEAN_S, OWN_SIGMA, TRY_SIGMA = 600.0, 0.3, 0.4
SEED = 0
EPOCHS = 9
FULL = Fidelity(name="search", epochs=EPOCHS)


@dataclass(frozen=True)
class Case:
    """A row: what searches, on how many workers, proposals a batch (with halving, or asynchronous: the window)."""

    strategy: str
    workers: int
    batch: int
    trials: int
    straggler_factor: float | None = 3.0
    halving: bool = False
    asynchronous: bool = False

    @property
    def windowed(self) -> bool:
        return self.halving or self.asynchronous

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.workers}"


CASES = [
    *(
        Case("random", workers, times * workers, trials, factor)
        for workers, trials in ((8, 512), (64, 1024), (256, 2048))
        for times in (1, 2)
        for factor in (None, 3.0)
    ),
    *(
        Case("random", workers, 2 * workers, trials, 3.0, halving=True)
        for workers, trials in ((64, 512), (256, 1024))
    ),
    *(
        Case("evolution", workers, workers, trials)
        for workers, trials in ((8, 512), (64, 1024), (256, 2048))
    ),
    *(Case("ppo", workers, workers, trials) for workers, trials in ((8, 128), (64, 512))),
    *(
        Case(strategy, workers, workers + workers // 4, trials, asynchronous=True)
        for strategy, workers, trials in (
            ("random", 8, 512),
            ("random", 64, 1024),
            ("random", 256, 2048),
            ("random", 256, 8192),
            ("evolution", 64, 1024),
            ("evolution", 256, 2048),
            ("ppo", 8, 128),
            ("ppo", 64, 512),
        )
    ),
    *(
        Case("random", workers, workers + workers // 4, trials, halving=True, asynchronous=True)
        for workers, trials in ((64, 512), (256, 1024))
    ),
]
ASYNCHRONOUS_BATCH = 8
"""Proposals that a strategy makes at a time there."""


@dataclass
class Row:
    """What came of it. `rss_mb` at the beginning and after each quarter of the trials, but at least 2,500."""

    utilisation: float
    at_best: float
    hours: float
    dispatch_ms: tuple[float, float]
    lost: int
    doubled: int
    killed: int
    backups: int
    crashed: int
    wall_s: float
    rss_mb: list[float]


class MacsCosting(Costing):
    """Costs in proportion to MACs: nothing is measured here."""

    def costs(self, architecture, network, exit_shares):  # type: ignore[no-untyped-def]
        macs = count_macs(network)
        latency, energy = Cost(macs / 1e6, 0.0, "estimated"), Cost(macs / 1e7, 0.0, "estimated")
        return NetworkCosts(
            latency_ms=latency,
            latency_worst_ms=latency,
            energy_mj=energy,
            energy_worst_mj=energy,
            num_params=1000,
            macs=macs,
            size_bytes=4000,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="rows whose name begins so, such as random-8")
    parser.add_argument("--asynchronous", action="store_true", help="those rows alone")
    parser.add_argument("--memory", type=int, nargs="?", const=20_000, metavar="N")
    options = parser.parse_args()
    cases = [case for case in CASES if case.name.startswith(options.only or "")]
    cases = [case for case in cases if case.asynchronous or not options.asynchronous]
    if options.memory:
        cases = [
            Case("random", 256, 512, options.memory),
            Case("evolution", 256, 256, options.memory),
            Case("ppo", 256, 256, options.memory),
        ]
        cases = [case for case in cases if case.name.startswith(options.only or "")]
    memory = f" | RSS MB at 0, {look_every(options.memory)}, … trials" if options.memory else ""
    print(
        "strategy | workers | batch | trials | straggler factor | utilisation | at best | makespan, h | dispatch ms, median | 99 % "
        f"| crashed | killed | backups | lost | doubled | wall s{memory}"
    )
    for case in cases:
        if options.memory:  # each in a process that holds nothing yet
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                row = pool.submit(run, case).result()
            print(line(case, row), "|", ", ".join(f"{mb:.0f}" for mb in row.rss_mb), flush=True)
        else:
            print(line(case, run(case)), flush=True)


def line(case: Case, row: Row) -> str:
    batch = f"{case.batch} under way" if case.windowed else f"{case.batch}"
    batch += ", halving" * case.halving + ", asynchronous" * case.asynchronous
    factor = "–" if case.straggler_factor is None else f"{case.straggler_factor:g}"
    best = "–" if case.windowed else f"{100 * row.at_best:.0f} %"
    # in order of proposal, what a worker gets next may wait for other results by design
    waits = case.halving and not case.asynchronous
    dispatch = "– | –" if waits else "{:.1f} | {:.1f}".format(*row.dispatch_ms)
    return (
        f"{case.strategy} | {case.workers} | {batch} | {case.trials} | {factor} | {100 * row.utilisation:.1f} % | {best} | {row.hours:.1f} "
        f"| {dispatch} | {row.crashed} | {row.killed} | {row.backups} | {row.lost} | {row.doubled} | {row.wall_s:.0f}"
    )


def run(case: Case) -> Row:
    """One search, in this process."""
    logging.disable(logging.WARNING)  # each crash is one
    dataset = load_data(DigitsConfig())
    space = make_space(dataset)
    rng = np.random.default_rng(SEED)
    macs = [count_macs(space.resolve(space.sample(rng))) for _ in range(300)]
    cluster = VirtualCluster(
        mean_s=MEAN_S, mean_work=float(np.mean(macs)) * EPOCHS, own_sigma=OWN_SIGMA,
        try_sigma=TRY_SIGMA, faults=Faults(), seed=SEED
    )  # fmt: skip
    config = EvaluatorConfig(workers=case.workers, straggler_factor=case.straggler_factor)
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger(f"sqlite:///{Path(folder) / 'ledger.db'}") as ledger,
        VirtualEvaluator(cluster, dataset, TrainingConfig(), config) as evaluator,
    ):
        memory = Memory(look_every(case.trials))
        session = ledger.session(
            "scale", case.strategy, SEED, budget=case.trials, space=space, evaluator=evaluator, costing=MacsCosting(),
            objective=make_objective(MinMaxConfig(), bounds_of(macs)), limits=LimitsConfig(), fidelity=FULL, training_seed=SEED,
            by_arrival=case.asynchronous, on_result=memory.count,
        )  # fmt: skip
        started = time.perf_counter()
        search(case, space, session, Path(folder))
        wall_s = time.perf_counter() - started
        lost, doubled = check(ledger, session, cluster)
    record, makespan_s = cluster.record, cluster.now()
    milliseconds = 1e3 * np.array(record.dispatch_s)
    return Row(
        utilisation=record.useful_s / (case.workers * makespan_s),
        at_best=at_best(case, macs),
        hours=makespan_s / 3600,
        dispatch_ms=(float(np.median(milliseconds)), float(np.percentile(milliseconds, 99))),
        lost=lost,
        doubled=doubled,
        killed=record.killed,
        backups=record.backups,
        crashed=record.crashed,
        wall_s=wall_s,
        rss_mb=memory.rss_mb,
    )


def at_best(case: Case, macs: list[int]) -> float:
    """Utilisation where nothing fails and the longest child of a batch, of which all times are known, is begun first."""
    rng = np.random.default_rng(SEED)
    spread = np.hypot(OWN_SIGMA, TRY_SIGMA)
    busy = makespan = 0.0
    for _ in range(100):
        seconds = rng.choice(macs, case.batch) * np.exp(spread * rng.standard_normal(case.batch))
        free_at = [0.0] * case.workers
        for each in sorted(seconds, reverse=True):
            heapq.heapreplace(free_at, free_at[0] + each)
        busy, makespan = busy + seconds.sum(), makespan + max(free_at)
    return float(busy / (case.workers * makespan))


def make_space(dataset):  # type: ignore[no-untyped-def]
    stage = {"channels": 16, "layers": 3, "stride": 1}
    stages = [stage, {"channels": 32, "layers": 3, "stride": 2}]
    config = StagedSpaceConfig.model_validate({"stem_channels": 16, "stages": stages})
    return StagedSpace(config, input_shape=dataset.input_shape, num_classes=dataset.num_classes)


def bounds_of(macs: list[int]) -> ObjectiveBounds:
    low, high = min(macs), max(macs)
    return ObjectiveBounds(
        latency_min_ms=low / 1e6, latency_max_ms=high / 1e6, energy_min_mj=low / 1e7, energy_max_mj=high / 1e7
    )  # fmt: skip


def search(case: Case, space: StagedSpace, session: LedgerSession, folder: Path) -> None:
    batch = ASYNCHRONOUS_BATCH if case.asynchronous else case.batch
    configs = {
        "random": RandomConfig(batch_size=batch),
        "evolution": EvolutionConfig(population=max(20, case.batch), batch_size=batch),
        "ppo": PPOConfig(batch_size=batch) if case.strategy == "ppo" else None,
    }
    strategy = make_strategy(
        configs[case.strategy],
        space=space,
        bounds=CostBounds(space, None, LimitsConfig()),
        seed=SEED,
        checkpoint_dir=None if case.windowed else folder / "checkpoints",
    )
    if case.asynchronous and not case.halving:
        WindowedSearch(strategy, case.batch).run(session)
    elif case.halving:
        halving = HalvingConfig.model_validate({"rungs": [{"epochs": 3}], "window": case.batch})
        HalvingSearch(strategy, halving, rungs_of(halving, FULL)).run(session)
    else:
        strategy.run(session)


def look_every(trials: int) -> int:
    """After how many results the memory is looked at."""
    return max(2_500, trials // 4)


class Memory:
    """The controller's memory, looked at after each `every` results."""

    def __init__(self, every: int) -> None:
        self.rss_mb: list[float] = []
        self._every = every
        self._count = 0
        self._look()

    def count(self, _: Evaluation) -> None:
        self._count += 1
        if self._count % self._every == 0:
            self._look()

    def _look(self) -> None:
        gc.collect()
        self.rss_mb.append(psutil.Process().memory_info().rss / 2**20)


def check(ledger: Ledger, session: LedgerSession, cluster: VirtualCluster) -> tuple[int, int]:
    """(lost, doubled): proposals without a result in the ledger; results that came, or were paid for, more than once."""
    written = ledger.evaluations(session.name)
    lost = session.logged - len(written) + (session.logged - len(session.history))
    paid = [(e.architecture.digest, e.fidelity) for e in written if e.charged]
    # a child is trained once at each fidelity
    asked = {key[0]: 0 for key in paid}
    for digest, _ in paid:
        asked[digest] += 1
    doubled = len(paid) - len(set(paid))
    doubled += sum(
        count > asked.get(digest, 0) for digest, count in cluster.record.delivered.items()
    )
    return lost, doubled


if __name__ == "__main__":
    main()
