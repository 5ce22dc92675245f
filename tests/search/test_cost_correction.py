"""What expected costs were wrong about is learnt from children, where it can be learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archspace import Block, NasBench201Space
from evaluation import ModelCosting
from search.strategies import SurrogateConfig
from search.strategies.surrogate_search import SurrogateSearch
from search.surrogates import CostCorrection
from tests.search.strategy_toys import ToyCostModel, toy_bounds, toy_session, toy_space

SPACE = NasBench201Space()
RNG = np.random.default_rng(0)
CELLS = [SPACE.sample(RNG) for _ in range(90)]
SEEN, NEW = CELLS[:60], CELLS[60:]
CONV = 3
Costs = np.ndarray


def expected(cells: list[tuple[int, ...]]) -> Costs:
    """Latencies and energies that are told beforehand: all alike."""
    return np.tile([2.0, 5.0], (len(cells), 1))


def actual(cells: list[tuple[int, ...]]) -> Costs:
    """A fifth more latency for each edge with the slowest convolution; energies are as told."""
    slow = np.array([sum(op == CONV for op in cell) for cell in cells])
    return expected(cells) * np.stack([1.2**slow, np.ones(len(cells))], axis=1)


def correction(most: int = 1000) -> CostCorrection:
    return CostCorrection(SPACE, 0, most_for_one_process=most)


def fitted(most: int = 1000) -> CostCorrection:
    """To what costs were."""
    made = correction(most)
    made.fit(SEEN, expected(SEEN), actual(SEEN))
    return made


@pytest.mark.parametrize("most", [1000, 40])
def test_what_costs_were_wrong_about_is_learnt(most: int) -> None:
    found = fitted(most)(NEW, expected(NEW))
    before = np.abs(np.log(actual(NEW) / expected(NEW)))[:, 0].mean()
    after = np.abs(np.log(actual(NEW) / found.mean))[:, 0].mean()
    assert after < (0.2 if most == 1000 else 0.5) * before
    assert (found.log_std[:, 0] > 0).all()
    assert (found.mean[:, 1] == 5.0).all(), "energies were right"
    (above,) = found.possible(np.ones(1))
    np.testing.assert_allclose(above, found.mean * np.exp(found.log_std))
    before_taking = found.log_std[:, 0].copy()
    found.take(3)
    assert found.log_std[3, 0] < 0.5 * before_taking[3]


@pytest.mark.parametrize("children", [60, 5])
def test_costs_that_were_right_or_seldom_seen_stay_as_they_are(children: int) -> None:
    made = correction()
    truth = expected if children == 60 else actual
    made.fit(SEEN[:children], expected(SEEN[:children]), truth(SEEN[:children]))
    found = made(NEW, expected(NEW))
    np.testing.assert_array_equal(found.mean, expected(NEW))
    assert not found.log_std.any()


def test_errors_that_are_chance_are_seldom_believed() -> None:
    believed = 0
    for seed in range(6):
        luck = np.random.default_rng(seed).normal(0, 0.05, size=(len(SEEN), 2))
        made = correction()
        made.fit(SEEN, expected(SEEN), expected(SEEN) * np.exp(luck - luck.mean(axis=0)))
        believed += int(made(NEW, expected(NEW)).log_std.any(axis=0).sum())
    assert believed <= 3, "of 12"


def test_children_of_unknown_cost_are_left_out() -> None:
    truth = actual(SEEN)
    truth[0] = np.nan
    truth[1] = 0.0
    made = correction()
    made.fit(SEEN, expected(SEEN), truth)
    wanted = correction()
    wanted.fit(SEEN[2:], expected(SEEN[2:]), actual(SEEN[2:]))
    unknown = expected(NEW)
    unknown[3] = np.nan
    found = made(NEW, unknown)
    assert np.isnan(found.mean[3]).all()
    rest = np.arange(len(NEW)) != 3
    np.testing.assert_array_equal(found.mean[rest], wanted(NEW, expected(NEW)).mean[rest])


def test_a_restored_correction_goes_on_alike() -> None:
    first = fitted()
    second = correction()
    second.restore(first.state)
    more = [*SEEN, *NEW[:3]]  # too few more for hyperparameters to be learnt again
    for made in (first, second):
        made.fit(more, expected(more), actual(more))
    ours, theirs = (made(NEW, expected(NEW)) for made in (first, second))
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.log_std, theirs.log_std)


class TwiceAsSlow(ToyCostModel):
    """What a recalibration made of the toy's cost model."""

    version = 2

    def block_latency_ms(self, block: Block) -> float:
        return 2 * super().block_latency_ms(block)


def test_what_a_recalibration_changed_is_no_error(tmp_path: Path) -> None:
    bounds = toy_bounds(toy_space())
    session = toy_session(tmp_path / "ledger.db", bounds, budget=24, latency_weight=0.3)
    config = SurrogateConfig(batch_size=4, initial=8)
    searcher = SurrogateSearch(config, bounds, 0)
    searcher.begin(session)
    rng = np.random.default_rng(0)
    children = session.evaluate([bounds.space.sample(rng) for _ in range(12)])
    costing = session._scoring.costing
    assert isinstance(costing, ModelCosting)
    costing.use(TwiceAsSlow())
    searcher.go_on(session, children)
    new = [bounds.space.sample(rng) for _ in range(5)]
    told = session.expected_costs(new)
    np.testing.assert_array_equal(searcher.costs(new, told).mean, told)
