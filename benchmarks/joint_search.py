"""Bits searched together with the architecture, against the same search in float32 and INT8 afterwards.

    python benchmarks/joint_search.py configs/shapes-bits.yaml --seeds 3 --limits-ms 0.05 0.07 0.1 --work DIR

Both searches train equally many children, by one device file. For each latency limit, each way may pick one network:

- together: of the children, the most accurate whose measured latency holds the limit, as it is;
- afterwards: of the children of the search in float32, the most accurate that holds the limit in float32 or quantised to 8
  bits, whichever is needed.

Picks are made on validation accuracy of the short schedule and on measured latency (no exit taken, batch 1), then trained at
the full schedule, quantised after training where they are INT8 networks, and tested once. What ended already (same --work)
is not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from archspace import Network, SearchSpace
from compress import ChildQuantiseConfig
from evaluation import ChildLimits, ChildTask, Fidelity, Recipe, TrainedChild, child_seed
from evaluation.child_runner import run_final
from latency_models import DeviceFile
from service.config_file import read_mapping, validate
from service.data_and_space import load_dataset, make_space
from service.run_config import RunConfig

NETLATHE = [sys.executable, "-m", "service.cli"]
WAYS = {"together": (), "afterwards": ("--set", "space.bits=[32]")}
SLACK = 1.15
"""Networks predicted up to so many times the limit are measured."""
MEASURED = 6
"""At most so many at once, the most accurate first."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What one way found for one limit."""

    way: str
    seed: int
    limit_ms: float
    digest: str
    int8: bool
    latency_ms: float
    search_accuracy: float
    test_accuracy: float


@dataclass(frozen=True)
class Candidate:
    """A child of the search, as it would run."""

    network: Network
    accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limits-ms", type=float, nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    picks = []
    for seed in range(options.seeds):
        for way in WAYS:
            picks += picks_of(options, way, seed)
        table(picks, options.limits_ms)


def picks_of(options: argparse.Namespace, way: str, seed: int) -> list[Pick]:
    """The picks of one search, one a limit that any of its networks holds."""
    run: Path = options.work / f"{way}-{seed}"
    search(options, way, run, seed)
    kept = run / "joint_picks.json"
    if kept.is_file():
        return [Pick(**row) for row in json.loads(kept.read_text())]
    config = validate(RunConfig, read_mapping(run / "run.yaml")["config"], str(run))
    dataset = load_dataset(config)
    space = make_space(config, dataset)
    candidates = list(candidates_of(space, run, quantised=way == "afterwards"))
    device = DeviceFile.load(options.work / "together-0" / "device.json")
    picks = []
    for limit in options.limits_ms:
        found = fastest_enough(candidates, device, limit)
        if found is None:
            print(f"{way}, seed {seed}: no network holds {limit} ms")
            continue
        candidate, latency_ms = found
        trained = train(candidate.network, config, dataset)
        picks.append(
            Pick(
                way=way,
                seed=seed,
                limit_ms=limit,
                digest=candidate.network.digest,
                int8=candidate.network.is_int8,
                latency_ms=latency_ms,
                search_accuracy=candidate.accuracy,
                test_accuracy=trained.test_accuracy,
            )
        )
    kept.write_text(json.dumps([vars(pick) for pick in picks], indent=1))
    return picks


def search(options: argparse.Namespace, way: str, run: Path, seed: int) -> None:
    """One run, or what is left of it; the first one's device file serves all."""
    if (run / "summary.json").is_file():
        return
    device = options.work / "together-0" / "device.json"
    if (run / "run.yaml").is_file():
        command: list[Any] = ["resume", run]
    else:
        command = ["search", options.config, "--out", run, "--seed", seed, *WAYS[way]]
        command += [part for override in options.overrides for part in ("--set", override)]
        if device.is_file():
            command += ["--device-file", device]
    subprocess.run([*NETLATHE, *map(str, command)], check=True)


def candidates_of(space: SearchSpace, run: Path, *, quantised: bool) -> Iterator[Candidate]:
    """Children of the run's strategy; each also in 8 bits if `quantised`, its accuracy taken to stay."""
    trials = pd.read_parquet(run / "trials.parquet")
    trials = trials[(trials["session"] == trials["session"].iloc[0]) & (trials["status"] == "ok")]
    for row in trials.drop_duplicates("digest").itertuples():
        network = space.resolve(json.loads(str(row.choices)))
        yield Candidate(network, float(str(row.accuracy)))
        if quantised:
            yield Candidate(network.with_bits(8), float(str(row.accuracy)))


def fastest_enough(
    candidates: Sequence[Candidate], device: DeviceFile, limit_ms: float
) -> tuple[Candidate, float] | None:
    """(the most accurate whose measured latency is at most `limit_ms`, that latency), or None."""
    costs = device.cost_model().predict([candidate.network for candidate in candidates])
    near = [
        candidate
        for candidate, cost in zip(candidates, costs, strict=True)
        if cost.latency_ms[-1].value <= SLACK * limit_ms
    ]
    near.sort(key=lambda candidate: (-candidate.accuracy, candidate.network.digest))
    for start in range(0, len(near), MEASURED):
        part = near[start : start + MEASURED]
        measured = device.measure([candidate.network for candidate in part])
        for candidate, measurement in zip(part, measured, strict=True):
            if measurement.latency.value <= limit_ms:
                return candidate, measurement.latency.value
    return None


def train(network: Network, config: RunConfig, dataset: Any) -> TrainedChild:
    """At the full schedule; both ways have the same seed for the same network in float32."""
    fidelity = Fidelity(name="final", epochs=config.schedule.final_epochs)
    seed = child_seed(config.training.seed, network.with_bits(32).digest, fidelity, 0)
    architecture = Stub(network.digest)
    task = ChildTask(
        architecture=architecture,  # type: ignore[arg-type]
        network=network,
        fidelity=fidelity,
        replicate=0,
        seed=seed,
    )
    recipe = Recipe(quantisation=ChildQuantiseConfig())
    trained = run_final(task, dataset, config.training, ChildLimits(), "here", recipe)
    assert isinstance(trained, TrainedChild), trained
    return trained


@dataclass(frozen=True)
class Stub:
    """All that is asked of an architecture here: a network in 8 bits is in no space of the search in float32."""

    digest: str
    label: str = ""


def table(picks: Sequence[Pick], limits: Sequence[float]) -> None:
    """By limit: test accuracy of both ways, mean ± standard deviation, and the paired difference with its 95 % interval."""
    print("limit ms | together % | afterwards % | together minus it | INT8 among picks | seeds")
    for limit in limits:
        by_way = {
            way: {p.seed: p for p in picks if p.way == way and p.limit_ms == limit} for way in WAYS
        }
        together, afterwards = by_way.values()
        seeds = sorted(set(together) & set(afterwards))
        if not seeds:
            continue
        values = np.array(
            [[100 * way[seed].test_accuracy for seed in seeds] for way in (together, afterwards)]
        )
        difference = values[0] - values[1]
        half = (
            stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(difference) if len(seeds) > 1 else np.nan
        )
        spreads = values.std(axis=1, ddof=1) if len(seeds) > 1 else [np.nan] * 2
        int8 = [sum(way[s].int8 for s in seeds) for way in (together, afterwards)]
        print(
            f"{limit:g} | {values[0].mean():.2f} ± {spreads[0]:.2f} | {values[1].mean():.2f} ± {spreads[1]:.2f} | "
            f"{difference.mean():+.2f} ± {half:.2f} | {int8[0]} and {int8[1]} | {len(seeds)}"
        )


if __name__ == "__main__":
    main()
