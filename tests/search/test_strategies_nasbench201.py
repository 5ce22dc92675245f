"""PPO against random search on measured results of NAS-Bench-201."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from archspace import NasBench201Space
from envs import CostBounds
from evaluation import (
    Evaluator,
    Fidelity,
    Ledger,
    LimitsConfig,
    MinMaxConfig,
    TableCosting,
    TableEvaluator,
    make_objective,
)
from latency_models import MeasuredTable
from search.strategies import PPOConfig, RandomConfig, StrategyConfig, make_strategy

TABLE = Path(os.environ.get("NETLATHE_BENCH_DATA", "../shared/data")) / "nb201_dev.parquet"
COLUMNS = ("c10_val_200", "latency_edgegpu_ms", "energy_edgegpu_mj")
BEST_ACCURACY = 0.9161
BUDGET = 150
SEEDS = (0, 1, 2, 3)


@pytest.mark.slow
@pytest.mark.skipif(not TABLE.is_file(), reason="needs NETLATHE_BENCH_DATA")
def test_ppo_comes_closer_to_the_optimum_than_random_search(tmp_path: Path) -> None:
    table = MeasuredTable.read(TABLE, columns=COLUMNS)
    space = NasBench201Space()
    bounds = CostBounds(space, None, LimitsConfig())
    evaluator: Evaluator = TableEvaluator(table, COLUMNS[0])

    def regret(config: StrategyConfig, seed: int) -> float:
        """Accuracy points below the best cell."""
        session = Ledger(f"sqlite:///{tmp_path}/{config.name}-{seed}.db").session(
            "run",
            config.name,
            seed,
            budget=BUDGET,
            space=space,
            evaluator=evaluator,
            costing=TableCosting(table, *COLUMNS[1:]),
            objective=make_objective(
                MinMaxConfig(accuracy_weight=1.0, latency_weight=0.0, energy_weight=0.0), None
            ),
            limits=bounds.limits,
            fidelity=Fidelity(name="search", epochs=200),
            training_seed=0,
        )
        make_strategy(config, space=space, bounds=bounds, seed=seed).run(session)
        assert session.spent == BUDGET
        return 100 * (BEST_ACCURACY - max(e.accuracy for e in session.history))

    ppo = np.mean([regret(PPOConfig(), seed) for seed in SEEDS])
    control = np.mean([regret(RandomConfig(), seed) for seed in SEEDS])
    assert ppo < 0.3
    assert ppo < control - 0.1
