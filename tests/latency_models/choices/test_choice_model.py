"""What is learnt from a known cost of NAS-Bench-201 cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr

from archspace import NasBench201Space
from latency_models import ChoiceModel, TableError, fit_choice_model
from latency_models.choices.design import choose_architectures
from latency_models.choices.model import _directions_by_features, _directions_by_rows
from latency_models.choices.references import reference_weights

SPACE = NasBench201Space()
RNG = np.random.default_rng(0)
POOL = RNG.integers(0, 5, (1500, 6))
FRESH = RNG.integers(0, 5, (2000, 6))
OPS_MS = np.array([0.0, 0.3, 1.0, 2.5, 0.7])


def cost(choices: np.ndarray, *, late: float = 0.1, noise: float = 0.0) -> np.ndarray:
    """1 ms, plus each operation's own; the later edges cost more; relative noise."""
    total = 1 + (OPS_MS[choices] * (1 + late * np.arange(6))).sum(axis=1)
    return total * (1 + noise * np.random.default_rng(5).standard_normal(len(choices)))


def fitted(count: int, measure: Callable[[np.ndarray], np.ndarray] = cost) -> ChoiceModel:
    chosen = POOL[choose_architectures(SPACE, POOL, count, np.random.default_rng(0))]
    return fit_choice_model(SPACE, chosen, measure(chosen), pool=POOL)


def test_ten_measurements_rank_and_thirty_five_are_exact() -> None:
    assert spearmanr(fitted(10).predict(FRESH), cost(FRESH)).statistic > 0.98
    assert fitted(60).predict(FRESH) == pytest.approx(cost(FRESH), rel=0.02)


def test_chosen_measurements_say_more_than_drawn_ones() -> None:
    drawn = [
        fit_choice_model(SPACE, part, cost(part), pool=POOL).predict(FRESH)
        for part in (POOL[start : start + 10] for start in range(0, 100, 10))
    ]
    errors = [np.abs(p / cost(FRESH) - 1).mean() for p in drawn]
    assert np.abs(fitted(10).predict(FRESH) / cost(FRESH) - 1).mean() < np.median(errors)


def test_intervals_hold_nine_of_ten_measurements() -> None:
    def noisy(choices: np.ndarray) -> np.ndarray:
        return cost(choices, noise=0.05)

    predicted, std = fitted(200, noisy).predict_with_std(FRESH)
    inside = np.abs(predicted - noisy(FRESH)) <= 1.645 * std
    assert 0.85 < inside.mean() < 0.95


def test_uncertainty_shrinks_with_measurements_and_grows_away_from_them() -> None:
    convolutions = np.full((1, 6), 3)
    usual = POOL[(POOL != 3).all(axis=1)]
    model = fit_choice_model(SPACE, usual[:60], cost(usual[:60], noise=0.02), pool=POOL)
    near, far = model.predict_with_std(usual[100:101])[1], model.predict_with_std(convolutions)[1]
    assert far[0] > 2 * near[0]
    assert (
        fitted(200).predict_with_std(FRESH)[1].mean() < fitted(12).predict_with_std(FRESH)[1].mean()
    )


def test_other_devices_help_where_measurements_are_few() -> None:
    def odd(choices: np.ndarray, scale: float) -> np.ndarray:
        """Costs that counts do not explain: two 3×3 convolutions side by side share a cache."""
        both = (choices[:, 0] == 3) & (choices[:, 1] == 3)
        return scale * (cost(choices, late=1.0) + 6 * both)

    columns = [odd(POOL[:900], 1.0), odd(POOL[:900], 2.0) + 1]
    weights = reference_weights(SPACE, POOL[:900], columns, pool=POOL)
    chosen = POOL[choose_architectures(SPACE, POOL, 10, RNG, references=weights)]
    measured, truth = odd(chosen, 0.5), odd(FRESH, 0.5)
    alone = fit_choice_model(SPACE, chosen, measured, pool=POOL).predict(FRESH)
    helped = fit_choice_model(SPACE, chosen, measured, pool=POOL, references=weights).predict(FRESH)
    assert np.abs(helped / truth - 1).mean() < 0.3 * np.abs(alone / truth - 1).mean()


def test_no_prediction_is_zero_or_less() -> None:
    def steep(choices: np.ndarray) -> np.ndarray:
        return np.exp(2 * (choices == 3).sum(axis=1)) * 1e-3

    assert fitted(15, steep).predict(FRESH).min() > 0


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0], "at least 5"),
        ([1.0, 2.0, 0.0, 4.0, 5.0], "above 0"),
        ([1.0, 2.0, float("nan"), 4.0, 5.0], "above 0"),
        ([3.0] * 8, "cost the same"),
    ],
)
def test_what_cannot_be_learnt_from(measured: list[float], message: str) -> None:
    with pytest.raises(TableError, match=message):
        fit_choice_model(SPACE, POOL[: len(measured)], np.array(measured), pool=POOL)


def test_choosing_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="at most 1500"):
        choose_architectures(SPACE, POOL, 1501, RNG)


def test_a_choice_is_never_made_twice() -> None:
    chosen = choose_architectures(SPACE, POOL[:150], 150, RNG)
    assert sorted(chosen.tolist()) == list(range(150))


def test_both_ways_to_the_main_directions_give_the_same_variances() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(60, 60)) * np.geomspace(1, 1e-4, 60)
    covariance, rows = root @ root.T, rng.normal(size=(200, 60))
    exact = np.einsum("ij,jk,ik->i", rows, covariance, rows)
    for directions in (_directions_by_features, _directions_by_rows):
        turned, rest = directions(covariance, rows)
        assert turned.shape == (60, 48)
        assert np.sum((rows @ turned) ** 2, axis=1) + rest == pytest.approx(exact, rel=1e-3)
