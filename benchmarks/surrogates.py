"""Surrogates of accuracy by number of children: seconds a batch and rank correlation on architectures left over.

    python benchmarks/surrogates.py --table FILE --accuracy c10_val_200 c10_val_12
    python benchmarks/surrogates.py --config configs/digits.yaml

One thread, seconds of processor time, so that other work beside it matters little. They are those of a batch: fit
(hyperparameters as learnt before), rank 2,000 candidates, take 16 of them, validate. Spearman over 2,000 architectures
that no model saw, over all and over the best tenth of them, and as the surrogate itself says it from children left out.
"trees" is scikit-learn's extra trees alone.

A table holds NAS-Bench-201 cells. A config's space has no table: its accuracies are made up, once smooth in choices and
sizes, once a random number a block, both with noise of half a point, so they say little about real networks.
"""

# ruff: noqa: E402 (thread counts must be set before NumPy is imported)

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from archspace import NasBench201Space, SearchSpace
from latency_models import MeasuredTable
from search.surrogates import ArchitectureFeatures, Ensemble, GaussianProcess, Learner
from search.surrogates.accuracy import GapTransform
from service.latency_inputs import config_space

Floats = NDArray[np.float64]

SIZES = (256, 512, 1000, 1500, 2000, 4000)
CANDIDATES = 2000
SAMPLES = 8000
TAKEN = 16
TREES = 100


@dataclass(frozen=True)
class World:
    """Architectures and their accuracies, shares 0-1."""

    name: str
    space: SearchSpace
    choices: NDArray[np.intp]
    accuracies: Floats


@dataclass(frozen=True)
class Row:
    """What one model did."""

    model: str
    seconds: float
    mean: Floats
    own_correlation: float | None = None


def table_worlds(path: Path, columns: list[str]) -> Iterator[World]:
    table, space = MeasuredTable.read(path, columns=columns), NasBench201Space()
    for column in columns:
        rows = table.labels(column)
        cells = np.array([space.from_arch_str(row) for row in rows])
        values = np.array([table.value(row, column) for row in rows], dtype=np.float64)
        yield World(column, space, cells, values / 100)


def made_up_worlds(config: Path) -> Iterator[World]:
    space, rng = config_space(config), np.random.default_rng(0)
    drawn = dict.fromkeys(space.sample(rng) for _ in range(SAMPLES))
    choices = np.array(list(drawn))
    features = ArchitectureFeatures(space)(choices)
    one_hot = (features["choices"] > 0).astype(float)
    hidden = np.tanh(one_hot @ rng.normal(0, 0.7, (one_hot.shape[1], 48)) + rng.normal(0, 0.5, 48))
    smooth = _scaled(hidden @ rng.normal(size=48)) + _scaled(features["sizes"][:, 0])
    usage, blocks = space.block_usage(choices)
    rough = usage @ rng.random(len(blocks))
    for name, values in (("smooth", smooth), ("a number a block", rough)):
        shares = 1 / (1 + np.exp(-0.8 - _scaled(values))) + rng.normal(0, 0.005, len(values))
        yield World(f"{config.stem}, {name}", space, choices, np.clip(shares, 0, 0.999))


def _scaled(values: Floats) -> Floats:
    return (values - values.mean()) / values.std()


def rows_of(features: Mapping[str, Floats], rows: NDArray[np.intp]) -> dict[str, Floats]:
    return {name: values[rows] for name, values in features.items()}


def surrogate_row(
    model: str, known: Mapping[str, Floats], targets: Floats, candidates: Mapping[str, Floats]
) -> Row:
    """A Gaussian process or an ensemble, with hyperparameters learnt beforehand."""
    learner = Learner(0)
    few = min(512, len(targets))
    learner.fit({name: values[:few] for name, values in known.items()}, targets[:few])
    learner.learnt_at = len(targets)
    start = time.process_time()
    fitted: GaussianProcess | Ensemble
    if model == "one process":
        fitted = learner.fit(known, targets)
    else:
        fitted = Ensemble(known, targets, learner=learner, seed=0)
    posterior = fitted.predict(candidates)
    mean = posterior.mean.copy()
    for i in range(TAKEN):
        posterior.take(i)
    left_out, _ = fitted.left_out()
    seconds = time.process_time() - start
    return Row(model, seconds, mean, float(spearmanr(left_out, targets).statistic))


def trees_row(
    known: Mapping[str, Floats], targets: Floats, candidates: Mapping[str, Floats]
) -> Row:
    inputs, new = (np.concatenate(list(each.values()), axis=1) for each in (known, candidates))
    start = time.process_time()
    forest = ExtraTreesRegressor(TREES, bootstrap=True, random_state=0).fit(inputs, targets)
    mean = forest.predict(new)
    return Row("trees", time.process_time() - start, mean)


def judge(world: World, seeds: int) -> None:
    space_features = ArchitectureFeatures(world.space)(world.choices)
    print(f"\n{world.name}: children | model | CPU s a batch | Spearman | best tenth | left out")
    for size in SIZES:
        found: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(world.choices))
            new, known = order[:CANDIDATES], order[CANDIDATES : CANDIDATES + size]
            if len(known) < size:
                return
            truth = world.accuracies[new]
            best = truth > np.quantile(truth, 0.9)
            targets = GapTransform.of(world.accuracies[known]).forward(world.accuracies[known])
            data = (rows_of(space_features, known), targets, rows_of(space_features, new))
            models = [surrogate_row(name, *data) for name in ("one process", "ensemble")]
            for row in (*models, trees_row(*data)):
                all_, top = spearmanr(row.mean, truth), spearmanr(row.mean[best], truth[best])
                own = np.nan if row.own_correlation is None else row.own_correlation
                found.setdefault(row.model, []).append(
                    (row.seconds, float(all_.statistic), float(top.statistic), own)
                )
        for model, values in found.items():
            seconds, *correlations = np.mean(values, axis=0)
            print(
                f"{size} | {model} | {seconds:.2f} | "
                + " | ".join(f"{c:.4f}" for c in correlations)
            )
        print(end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path)
    parser.add_argument(
        "--accuracy", nargs="+", default=[], help="columns of the table, in percent"
    )
    parser.add_argument("--config", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="splits into known and new")
    arguments = parser.parse_args()
    worlds: list[World] = []
    if arguments.table:
        worlds += table_worlds(arguments.table, arguments.accuracy)
    if arguments.config:
        worlds += made_up_worlds(arguments.config)
    for world in worlds:
        judge(world, arguments.seeds)


if __name__ == "__main__":
    main()
