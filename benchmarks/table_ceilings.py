"""What a table's columns allow: boosted trees beside our model, both fitted to most of the table.

    python benchmarks/table_ceilings.py TABLE --device COLUMN... --samples 10000

NAS-Bench-201 tables with an `arch_str` column. Prints, a column a line, Spearman and the share within ± 10 % on the
architectures left over. Where the trees do better, our model is the limit; where they do not, the column's noise may be.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor

from archspace import NasBench201Space
from latency_models import ChoiceTable, fit_choice_model
from latency_models.choices.features import Features

_POOL = 4000


def judged(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> str:
    spearman = spearmanr(predicted, measured).statistic
    return f"{spearman:.4f} {100 * np.mean(np.abs(predicted / measured - 1) <= 0.1):5.1f} %"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--device", nargs="+", required=True, help="columns")
    parser.add_argument("--samples", type=int, default=10_000, help="architectures to fit on")
    options = parser.parse_args(arguments)
    space = NasBench201Space()
    table = ChoiceTable.read(options.table, space, columns=options.device)
    rng = np.random.default_rng(0)
    pool = table.choices[rng.permutation(len(table.choices))[:_POOL]]
    features = Features.of(space, pool)
    inputs = np.column_stack(list(features.values(features.encoding.codes(table.choices)).values()))
    print("column | ours | boosted trees (Spearman, within 10 %)")
    for device in options.device:
        costs = table.columns[device]
        known = rng.permutation(np.flatnonzero(np.isfinite(costs)))
        fit, rest = known[: options.samples], known[options.samples :]
        model = fit_choice_model(space, table.choices[fit], costs[fit], pool=pool)
        trees = HistGradientBoostingRegressor(max_iter=400, learning_rate=0.05, max_leaf_nodes=15)
        trees.fit(inputs[fit], costs[fit])
        ours = judged(model.predict(table.choices[rest]), costs[rest])
        theirs = judged(trees.predict(inputs[rest]), costs[rest])
        print(f"{device} | {ours} | {theirs}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
