"""One surrogate for several fidelities, against closed forms and against the full fidelity alone."""

from __future__ import annotations

import numpy as np
import pytest

from search.surrogates import GaussianProcess, RungResult, RungSurrogate
from search.surrogates.rungs import fitted_line, lines_to_the_top
from tests.search.strategy_toys import toy_accuracy, toy_space

COSTS = (0.1, 0.3, 1.0)


def result(number: int, rung: int, accuracy: float) -> RungResult:
    return RungResult(choices=(number,), rung=rung, accuracy=accuracy)


def test_lines_bring_a_rung_to_the_top() -> None:
    rng = np.random.default_rng(0)
    lowest = rng.random(8)
    middle, top = 0.5 * lowest + 0.2, 2 * (0.5 * lowest + 0.2) - 0.1
    results = [result(i, 0, a) for i, a in enumerate(lowest)]
    results += [result(i, 1, a) for i, a in enumerate(middle[:6])]
    results += [result(i, 2, a) for i, a in enumerate(top[:5])]
    lines = lines_to_the_top(results, 3)
    assert [lines[2](0.4), lines[1](0.4)] == pytest.approx([0.4, 0.7])
    assert [lines[0](a) for a in lowest] == pytest.approx(list(top))


def test_a_slope_that_is_not_sure_is_nearer_to_one() -> None:
    """By hand: x of sum of squares 10, slope 3, residuals of sum of squares 30, so a variance of 30/3/10 = 1 against 0.25."""
    below = np.array([-2.0, -1, 0, 1, 2])
    above = 3 * below + np.sqrt(30 / 14) * np.array([1.0, -2, 2, -2, 1])
    assert fitted_line(below, above).slope == pytest.approx((3 * 0.25 + 1) / 1.25)
    assert fitted_line(below, 3 * below).slope == pytest.approx(3)


def test_a_rung_is_read_through_the_one_with_which_it_shares_most_children() -> None:
    """As shared weights are: all probes are trained in full, few children at the rung between."""
    results = [result(i, 0, 0.1) for i in range(6)] + [result(i, 2, 0.9) for i in range(6)]
    results += [result(6, 0, 0.1), result(6, 1, 0.2)]
    assert lines_to_the_top(results, 3)[0](0.1) == pytest.approx(0.9)


def test_few_pairs_give_an_offset_and_none_give_nothing() -> None:
    results = [result(0, 0, 0.2), result(1, 0, 0.4), result(0, 1, 0.5), result(1, 1, 0.6)]
    lines = lines_to_the_top(results, 3)
    assert lines[1](0.5) == 0.5
    assert lines[0](0.3) == pytest.approx(0.3 + 0.25)


def test_a_rung_that_ranks_the_wrong_way_round_says_nothing() -> None:
    results = [result(i, 0, 0.1 * i) for i in range(6)]
    results += [result(i, 1, 0.9 - 0.1 * i) for i in range(6)]
    lines = lines_to_the_top(results, 2)
    assert lines[0](0.0) == lines[0](1.0) == pytest.approx(0.65)


def test_leaving_out_groups_is_what_leaving_them_out_is() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.random((12, 3)), rng.standard_normal(12)
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 6])
    model = GaussianProcess({"x": x}, y)
    found = model.left_out_groups(groups)
    for group in range(7):
        rest = groups != group
        without = GaussianProcess(
            {"x": x[rest]}, y[rest], hyperparameters=model.hyperparameters, optimise=False
        )
        expected = without.predict({"x": x[~rest]}).mean
        assert found[~rest] == pytest.approx(expected, abs=1e-6)
    single = model.left_out_groups(np.arange(12))
    assert single == pytest.approx(model.left_out()[0], abs=1e-8)


@pytest.fixture(scope="module")
def world() -> tuple[list[tuple[int, ...]], np.ndarray, np.ndarray]:
    """Distinct choices, their accuracies in full, and noise of the cheap rung."""
    space, rng = toy_space(stages=3), np.random.default_rng(2)
    choices = list(dict.fromkeys(space.sample(rng) for _ in range(200)))
    accuracies = np.array([toy_accuracy(space.resolve(c)) for c in choices])
    return choices, accuracies, rng.standard_normal(len(choices))


def cheap(world: tuple[list[tuple[int, ...]], np.ndarray, np.ndarray], noise: float) -> np.ndarray:
    _, accuracies, drawn = world
    return np.clip(0.5 * accuracies + 0.1 + noise * accuracies.std() * drawn, 0, 1)


def fitted(
    world: tuple[list[tuple[int, ...]], np.ndarray, np.ndarray], noise: float, known_cheap: int
) -> RungSurrogate:
    """12 children in full, `known_cheap` at the cheapest rung."""
    choices, accuracies, _ = world
    surrogate = RungSurrogate(toy_space(stages=3), COSTS)
    low = cheap(world, noise)
    results = [RungResult(choices[i], 0, float(low[i])) for i in range(known_cheap)]
    results += [RungResult(choices[i], 2, float(accuracies[i])) for i in range(12)]
    surrogate.fit_rungs(results)
    return surrogate


def test_cheap_children_help_to_rank_those_in_full(
    world: tuple[list[tuple[int, ...]], np.ndarray, np.ndarray],
) -> None:
    from scipy.stats import spearmanr

    choices, accuracies, _ = world
    unseen = slice(80, len(choices))

    def correlation(surrogate: RungSurrogate) -> float:
        predicted = surrogate.predict(choices[unseen]).mean
        return float(spearmanr(predicted, accuracies[unseen]).statistic)

    alone, helped = correlation(fitted(world, 0.1, 12)), correlation(fitted(world, 0.1, 80))
    assert helped > alone + 0.1
    assert helped > 0.7


def test_predictions_are_accuracies_in_full(
    world: tuple[list[tuple[int, ...]], np.ndarray, np.ndarray],
) -> None:
    choices, accuracies, _ = world
    surrogate = fitted(world, 0.02, 80)
    predicted = surrogate.accuracies(surrogate.predict(choices[12:80]).mean)
    low = cheap(world, 0.02)[12:80]
    error = np.abs(predicted - accuracies[12:80]).mean()
    assert error < 0.3 * np.abs(low - accuracies[12:80]).mean()


def test_a_rung_that_is_noise_is_not_believed(
    world: tuple[list[tuple[int, ...]], np.ndarray, np.ndarray],
) -> None:
    """Its correlation is that of architectures left out with all their results: near 0, whatever they share."""
    choices, _, drawn = world
    rng = np.random.default_rng(5)
    surrogate = RungSurrogate(toy_space(stages=3), COSTS)
    noise = np.clip(0.5 + 0.1 * drawn[:60], 0, 1)
    surrogate.fit_rungs(
        [RungResult(choices[i], 0, float(noise[i])) for i in range(60)]
        + [RungResult(choices[i], 2, float(noise[i] + 0.01 * rng.random())) for i in range(60)]
    )
    assert abs(surrogate.rank_correlation()) < 0.4


def test_too_little_gives_no_model() -> None:
    surrogate = RungSurrogate(toy_space(), COSTS)
    space, rng = toy_space(), np.random.default_rng(0)
    seven = [RungResult(space.sample(rng), r, 0.1 * i) for i in range(7) for r in (0,)]
    surrogate.fit_rungs(seven)
    assert not surrogate.ready
    assert surrogate.rank_correlation() == 0
    surrogate.fit_rungs([RungResult(space.sample(rng), 0, 0.5) for _ in range(20)])
    assert not surrogate.ready, "all alike"


def test_of_too_many_results_old_and_cheap_ones_give_way() -> None:
    space, rng = toy_space(), np.random.default_rng(3)
    choices = list(dict.fromkeys(space.sample(rng) for _ in range(60)))[:24]
    results = [RungResult(c, 0, 0.01 * i) for i, c in enumerate(choices)]
    results += [RungResult(c, 1, 0.02 * i) for i, c in enumerate(choices[:4])]
    few = RungSurrogate(space, COSTS, most_results=14)
    few.fit_rungs(results)
    same = RungSurrogate(space, COSTS)
    same.fit_rungs(results[14:])
    assert few.predict(choices).mean == pytest.approx(same.predict(choices).mean)
