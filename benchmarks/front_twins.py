"""How much of a table's front is luck: the hypervolume that evaluating each computation once would find.

    python benchmarks/front_twins.py TABLE --accuracy COLUMN --latency COLUMN

Many of NAS-Bench-201's cells compute the same thing, written down differently; they differ by their trainings' seeds and the noise of
measured latencies. Takes one cell of each such class, its fastest or a random one, and prints the share of the true front's
hypervolume (as `netlathe bench search --objective pareto` counts it) that all of those together have.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archspace import NasBench201Space
from latency_models import ChoiceTable
from search.bench import ACCURACY_FLOOR
from search.pareto import hypervolume_2d
from search.surrogates import ArchitectureFeatures

DRAWS = 50


def classes(space: NasBench201Space, choices: NDArray[np.integer]) -> NDArray[np.intp]:
    """(rows,) the class of each architecture: those of one class have all features of the resolved network in common."""
    features = np.hstack(list(ArchitectureFeatures(space)(choices).values()))
    return np.unique(features.round(9), axis=0, return_inverse=True)[1].ravel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--accuracy", required=True)
    parser.add_argument("--latency", required=True)
    options = parser.parse_args()
    space = NasBench201Space()
    table = ChoiceTable.read(options.table, space, [options.accuracy, options.latency])
    points = np.stack([table.columns[options.accuracy], table.columns[options.latency]], axis=1)
    known = ~np.isnan(points).any(axis=1)
    points, groups = points[known], classes(space, table.choices[known])
    if points[:, 0].max() > 1:
        points[:, 0] /= 100
    reference = (ACCURACY_FLOOR, float(points[:, 1].max()))
    whole = hypervolume_2d(map(tuple, points), reference)

    def share(order: NDArray[np.intp]) -> float:
        """With the first row of each class in this order."""
        firsts = order[np.unique(groups[order], return_index=True)[1]]
        return hypervolume_2d(map(tuple, points[firsts]), reference) / whole

    rng = np.random.default_rng(0)
    drawn = [share(rng.permutation(len(points))) for _ in range(DRAWS)]
    print(f"{len(points)} architectures, {len(np.unique(groups))} classes that compute the same")
    print(f"the fastest of each class: {share(np.argsort(points[:, 1])):.3f}")
    print(f"a random one of each:      {np.mean(drawn):.3f} ± {np.std(drawn, ddof=1):.3f}")


if __name__ == "__main__":
    main()
