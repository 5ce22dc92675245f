"""`benchmarks/table_fidelities.py`: cheap columns first, on a table where they foretell the dear ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archspace import NasBench201Space


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """A table of all cells: a dear column, and a cheap one that ranks them alike but for some noise."""
    rng, space = np.random.default_rng(0), NasBench201Space()
    choices = np.stack(np.meshgrid(*[np.arange(5)] * 6, indexing="ij"), axis=-1).reshape(-1, 6)
    dear = 60 + 4 * (choices == 3).sum(axis=1) + rng.random(len(choices))
    labels = [space.architecture(row).label for row in choices.tolist()]
    cheap = dear - 30 + 0.5 * rng.standard_normal(len(choices))
    table = tmp_path / "table.parquet"
    pd.DataFrame({"arch_str": labels, "dear": dear, "cheap": cheap}).to_parquet(table)
    return argparse.Namespace(
        table=table, accuracy="dear", cheap="cheap", cheap_cost=0.05, objective="accuracy", latency=None,
        energy=None, strategy="random", reduction=8.0, batch=4, budget=20,
    )  # fmt: skip


def test_searches_pay_and_halving_finds_more(scripts, options, capsys):  # type: ignore[no-untyped-def]
    module = scripts["table_fidelities"]
    found = {
        way: [module.searched(options, way, seed) for seed in range(4)] for way in (False, True)
    }
    for curves in found.values():
        for curve in curves:
            paid, best = [p for _, p, _ in curve], [b for _, _, b in curve]
            assert paid == sorted(paid)
            assert paid[-1] <= 20 + 1e-9
            assert best == sorted(best)
            assert best[-1] <= 0
    assert found[False][0][0][1] == 1, "the first child in full costs 1"
    assert found[True][0][0][1] > 1.3, "eight cheap ones come before the first in full"
    ends = {way: np.mean([curve[-1][2] for curve in curves]) for way, curves in found.items()}
    assert ends[True] > ends[False]
    module.print_tables(found, 20)
    said = capsys.readouterr().out
    assert f"{-ends[False]:.4f}" in said
    assert said.count("× less paid") == 3


def test_regret_at_a_payment(scripts):  # type: ignore[no-untyped-def]
    curve = [(0.0, 1.0, -0.5), (0.0, 4.0, -0.25)]
    at = scripts["table_fidelities"].at
    assert [at(curve, paid) for paid in (1, 3.9, 4)] == [0.5, 0.5, 0.25]
    assert np.isnan(at(curve, 0.5))
