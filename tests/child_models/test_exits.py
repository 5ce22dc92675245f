from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from child_models import apply_exits, choose_thresholds, normalised_entropy

Logits = list[NDArray[np.float32]]


def sure(classes: list[int], confidence: list[float]) -> NDArray[np.float32]:
    """Logits over three classes: `confidence` for each sample's class, 0 for the others."""
    logits = np.zeros((len(classes), 3), dtype=np.float32)
    logits[np.arange(len(classes)), classes] = confidence
    return logits


def noisy_heads(
    seed: int, samples: int, heads: int, classes: int = 4
) -> tuple[Logits, NDArray[np.int64]]:
    """Heads that know more the deeper they are; easy samples are easy for all of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=samples)
    ease = rng.uniform(0, 6, size=(samples, 1))
    truth = np.eye(classes)[labels] * ease
    noise = rng.normal(size=(heads, samples, classes))
    return [
        (truth + noise[h] * (2.5 - 1.5 * h / heads)).astype(np.float32) for h in range(heads)
    ], labels


def test_entropy_worked_out_by_hand() -> None:
    logits = np.log(np.array([[1, 1, 1, 1], [2, 1, 1, 0.0001], [0.7, 0.1, 0.1, 0.1]]))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -(shares * np.log(shares)).sum(axis=1) / np.log(4)
    np.testing.assert_allclose(normalised_entropy(logits), expected, rtol=1e-5)
    np.testing.assert_allclose(normalised_entropy(logits)[0], 1.0)


def test_entropy_stays_above_zero_and_finite_for_huge_logits() -> None:
    entropy = normalised_entropy(np.array([[1e4, 0.0], [1e38, -1e38], [0.0, 0.0]], np.float32))
    assert (entropy > 0).all()
    assert (entropy <= 1).all()
    assert entropy[0] < 1e-30


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 3, 4)])
def test_entropy_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(samples, classes ≥ 2\\)"):
        normalised_entropy(np.zeros(shape, np.float32))


def test_samples_leave_at_their_first_sure_exit() -> None:
    logits = [
        sure([0, 0, 0, 0], [9, 1, 1, 1]),
        sure([1, 1, 1, 1], [9, 9, 1, 1]),
        sure([2, 2, 2, 2], [9, 9, 9, 1]),
    ]
    threshold = float(normalised_entropy(logits[0])[0])  # at most, not below: equality leaves
    predictions, exit_index = apply_exits(logits, (threshold, threshold))
    assert predictions.tolist() == [0, 1, 2, 2]
    assert exit_index.tolist() == [0, 1, 2, 2]


def test_threshold_zero_is_off_even_for_certainty_and_one_lets_all_leave() -> None:
    logits = [sure([0, 0], [1e4, 0]), sure([1, 1], [1, 1])]
    assert apply_exits(logits, (0.0,)).exit_index.tolist() == [1, 1]
    assert apply_exits(logits, (1.0,)).exit_index.tolist() == [0, 0]


def test_nan_logits_go_on_to_the_final_head() -> None:
    logits = [np.full((2, 3), np.nan, np.float32), sure([1, 2], [5, 5])]
    assert apply_exits(logits, (1.0,)).predictions.tolist() == [1, 2]
    choice = choose_thresholds(logits, np.array([1, 2]))
    assert choice.shares == (0.0, 1.0)


def test_threshold_between_the_sure_and_the_unsure() -> None:
    # the exit is right on the three samples it is sure about, wrong on the two others
    logits = [sure([0, 1, 2, 0, 0], [8, 7, 6, 2, 1]), sure([0, 1, 2, 1, 2], [5] * 5)]
    choice = choose_thresholds(logits, np.array([0, 1, 2, 1, 2]), max_drop=0.0)
    entropy = normalised_entropy(logits[0])
    assert choice.shares == (0.6, 0.4)
    assert choice.accuracy == choice.accuracy_no_exit == 1.0
    np.testing.assert_allclose(choice.thresholds[0], entropy[2:4].mean(), rtol=1e-6)


def test_a_loss_that_is_allowed_is_used_up_and_no_more() -> None:
    logits = [sure([0] * 10, list(range(20, 10, -1))), sure([0] * 5 + [1] * 5, [5] * 10)]
    labels = np.array([0] * 5 + [1] * 5)
    for allowed in range(6):
        choice = choose_thresholds(logits, labels, max_drop=allowed / 10)
        assert choice.shares[0] == (5 + allowed) / 10
        assert choice.accuracy == pytest.approx(1 - allowed / 10)


def test_a_surely_wrong_exit_is_switched_off() -> None:
    """float32 rounds its entropies to 0: only an exit that is really off keeps the promise."""
    logits = [sure([0] * 4, [1e4] * 4), sure([1] * 4, [1] * 4)]
    choice = choose_thresholds(logits, np.ones(4, dtype=np.int64), max_drop=0.005)
    assert choice.thresholds == (0.0,)
    assert choice.shares == (0.0, 1.0)
    assert choice.accuracy == 1.0


def test_without_exits() -> None:
    choice = choose_thresholds([sure([0, 1], [3, 3])], np.array([0, 2]))
    assert choice.thresholds == ()
    assert choice.shares == (1.0,)
    assert choice.accuracy == choice.accuracy_no_exit == 0.5


def test_costs_decide_which_exit_is_worth_its_loss() -> None:
    # one sample may be lost: exit 0 lets four leave for it, exit 1 all eight
    labels = np.zeros(8, dtype=np.int64)
    wrong_once = sure([1, 0, 0, 0, 1, 1, 1, 1], [9, 8, 8, 8, 2, 2, 2, 2])
    logits = [wrong_once, sure([1] + [0] * 7, [9] * 8), sure([0] * 8, [9] * 8)]
    cheap_first = choose_thresholds(logits, labels, 0.125, head_costs=(0.01, 0.9, 1.0))
    assert cheap_first.shares[:2] == (0.5, 0.5)
    free_second = choose_thresholds(logits, labels, 0.0, head_costs=(0.5, 0.5, 1.0))
    assert free_second.shares == (0.0, 0.0, 1.0)  # both exits are surest where they are wrong


@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 400),
    heads=st.integers(1, 5),
    max_drop=st.sampled_from([0.0, 0.005, 0.02, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_accuracy_promise_holds(seed: int, samples: int, heads: int, max_drop: float) -> None:
    logits, labels = noisy_heads(seed, samples, heads)
    choice = choose_thresholds(logits, labels, max_drop)
    predictions, exit_index = apply_exits(logits, choice.thresholds)
    assert choice.accuracy == (predictions == labels).mean()
    assert choice.accuracy >= choice.accuracy_no_exit - max_drop - 1e-12
    assert choice.accuracy_no_exit == (logits[-1].argmax(1) == labels).mean()
    assert all(0 <= threshold <= 1 for threshold in choice.thresholds)
    assert sum(choice.shares) == pytest.approx(1)
    np.testing.assert_allclose(
        choice.shares, np.bincount(exit_index, minlength=heads) / samples, atol=1e-12
    )
    assert choice == choose_thresholds(logits, labels, max_drop)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("heads", [2, 3])
def test_one_or_two_exits_get_the_best_thresholds_of_all(seed: int, heads: int) -> None:
    logits, labels = noisy_heads(seed, 24, heads)
    entropies = [np.append(0.0, normalised_entropy(head)) for head in logits[:-1]]
    fewest = (logits[-1].argmax(1) == labels).mean() - 0.1
    best = min(
        float(exit_index.mean())
        for thresholds in product(*entropies)
        for predictions, exit_index in [apply_exits(logits, thresholds)]
        if (predictions == labels).mean() >= fewest - 1e-12
    )
    shares = choose_thresholds(logits, labels, max_drop=0.1).shares
    assert np.dot(shares, np.arange(heads)) == pytest.approx(best)


def test_three_exits_save_more_than_any_one_of_them() -> None:
    logits, labels = noisy_heads(0, 600, 4)
    shares = choose_thresholds(logits, labels, max_drop=0.02).shares
    saved = 3 - np.dot(shares, np.arange(4))
    alone = [
        (3 - exit_) * choose_thresholds([logits[exit_], logits[3]], labels, 0.02).shares[0]
        for exit_ in range(3)
    ]
    assert saved > max(alone)


def test_thresholds_survive_other_rounding() -> None:
    """Entropies a few float32 steps off, as another library computes them, decide the same."""
    logits, labels = noisy_heads(1, 200, 2)
    choice = choose_thresholds(logits, labels, max_drop=0.02)
    entropy = normalised_entropy(logits[0])
    for factor in (1 - 5e-7, 1 + 5e-7):
        leaves = entropy * np.float32(factor) <= np.float32(choice.thresholds[0])
        assert leaves.mean() == choice.shares[0]


@pytest.mark.parametrize(
    ("logits", "thresholds", "message"),
    [
        ([], (), "at least the final head"),
        ([np.zeros((2, 3)), np.zeros((3, 3))], (0.5,), "head 1 has shape"),
        ([np.zeros((2, 3))] * 2, (), "expected 1 thresholds, got 0"),
        ([np.zeros((2, 3))] * 2, (1.5,), "outside"),
        ([np.zeros((2, 3))] * 2, (float("nan"),), "outside"),
    ],
)
def test_apply_refuses_what_does_not_fit(
    logits: Logits, thresholds: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        apply_exits(logits, thresholds)


@pytest.mark.parametrize(
    ("samples", "labels", "max_drop", "costs", "message"),
    [
        (2, 3, 0.1, None, "labels: expected one a sample"),
        (0, 0, 0.1, None, "labels: expected one a sample"),
        (2, 2, 5.0, None, "max_drop"),
        (2, 2, 0.1, (2.0, 1.0), "head_costs"),
        (2, 2, 0.1, (1.0,), "head_costs"),
    ],
)
def test_choosing_refuses_what_does_not_fit(
    samples: int, labels: int, max_drop: float, costs: tuple[float, ...] | None, message: str
) -> None:
    logits: Logits = [np.zeros((samples, 3), np.float32)] * 2
    with pytest.raises(ValueError, match=message):
        choose_thresholds(logits, np.zeros(labels, np.int64), max_drop, head_costs=costs)
