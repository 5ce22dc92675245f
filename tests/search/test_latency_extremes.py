"""The ends of a space by a latency that is no sum over blocks, and the table made of them."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
import pytest

from archspace import NasBench201Space, NasBench201SpaceConfig, Shape, StagedSpace
from archspace.staged_config import StagedSpaceConfig
from child_models import count_params
from evaluation import ChoicesCosting, LimitsConfig
from latency_models.energy import estimate_mj
from search import impossible_limits, tabulate_choices
from search.latency_extremes import latency_extremes
from tests.evaluation.test_choices_costing import SumModel

CELLS = NasBench201Space(
    NasBench201SpaceConfig(channels=4, cells_per_stage=1), input_shape=Shape(1, 8, 8)
)
STAGED = StagedSpace(
    StagedSpaceConfig.model_validate(
        {
            "stages": [{"channels": 16, "layers": 1}, {"channels": 32, "layers": 2, "stride": 2}],
            "early_exits": False,
        }
    ),
    input_shape=Shape(1, 8, 8),
    num_classes=10,
)


def weighted(space: StagedSpace) -> Any:
    """Each choice has a price of its own, and neighbouring decisions a joint one."""
    rng = np.random.default_rng(3)
    width = max(len(decision.choices) for decision in space.decisions)
    single = rng.uniform(1, 2, (len(space.decisions), width))
    joint = rng.uniform(0, 0.3, (len(space.decisions) - 1, width, width))
    rows = np.arange(len(space.decisions))

    def predict(choices: np.ndarray) -> np.ndarray:
        pairs = joint[rows[:-1], choices[:, :-1], choices[:, 1:]]
        return single[rows, choices].sum(axis=1) + pairs.sum(axis=1)

    return predict


def test_a_small_space_is_looked_at_whole() -> None:
    prices = np.array([0.2, 0.1, 1.0, 5.0, 0.7])
    found = latency_extremes(CELLS, lambda choices: prices[choices].sum(axis=1))
    assert found.fastest == (1,) * 6
    assert found.slowest == (3,) * 6
    assert found.drawn == 0
    # by hand: the middle of all 5⁶ sums
    sums = sorted(prices[np.indices((5,) * 6).reshape(6, -1)].sum(axis=0))
    assert prices[list(found.middle)].sum() == pytest.approx(sums[len(sums) // 2])


def test_a_large_space_is_drawn_from_and_the_ends_are_improved() -> None:
    predict = weighted(STAGED)
    exact = latency_extremes(STAGED, predict, most=30_000)
    found = latency_extremes(STAGED, predict, most=500)
    assert (exact.drawn, found.drawn) == (0, 500)
    drawn = latency_extremes(STAGED, predict, most=500)
    assert drawn == found  # the same draws every time

    def ms(choices: tuple[int, ...]) -> float:
        return float(predict(np.array([choices]))[0])

    assert ms(found.fastest) == pytest.approx(ms(exact.fastest), rel=0.02)
    assert ms(found.slowest) == pytest.approx(ms(exact.slowest), rel=0.02)
    assert ms(found.middle) == pytest.approx(ms(exact.middle), rel=0.02)
    for near in STAGED.neighbours(found.fastest):
        assert ms(near) >= ms(found.fastest)
    for near in STAGED.neighbours(found.slowest):
        assert ms(near) <= ms(found.slowest)


def test_table_of_a_small_space_is_exact() -> None:
    table = tabulate_choices(CELLS, ChoicesCosting(cast(Any, SumModel())))
    assert [row.name for row in table.rows] == ["smallest", "middle", "largest"]
    assert [row.costs.latency_ms.value for row in table.rows] == [1.0, 13.0, 25.0]
    assert table.least["latency_ms"] == 1.0
    rows = np.indices((5,) * 6).reshape(6, -1).T[::97]
    networks = [CELLS.resolve(row) for row in rows.tolist()]
    energies = [estimate_mj(network) for network in networks]
    assert table.least["energy_mj"] <= min(energies)
    assert table.most_energy_mj >= max(energies)
    assert table.least["num_params"] == min(map(count_params, networks))
    assert table.drawn == 0


def test_an_unreachable_limit_says_how_sure_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = LimitsConfig(latency_ms=0.5)
    table = tabulate_choices(CELLS, ChoicesCosting(cast(Any, SumModel())))
    assert impossible_limits(table, limits) == [
        "limits.latency_ms = 0.5, but the smallest network of this space needs 1"
    ]
    monkeypatch.setattr("search.space_table.latency_extremes", partial(latency_extremes, most=300))
    sampled = tabulate_choices(STAGED, ChoicesCosting(cast(Any, SumModel())))
    (fault,) = impossible_limits(sampled, limits)
    assert "the fastest one found after drawing 300 networks of this space needs" in fault
    assert impossible_limits(sampled, LimitsConfig(latency_ms=100)) == []
