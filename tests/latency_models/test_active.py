"""What is measured next is what lowers the model's uncertainty most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archspace import Network
from latency_models.active import informative_order
from latency_models.additive import fit_additive
from latency_models.sampling import call_network, spread_over_costs
from latency_models.selection import MOST_CHOSEN, networks_to_fit

NOISE = 0.05


def mean_variance(design: np.ndarray, chosen: list[int]) -> float:
    """Of all rows' predictions once `chosen` were measured, by the textbook's formula."""
    measured = design[chosen]
    precision = np.eye(design.shape[1]) + measured.T @ measured / NOISE
    return float(np.einsum("ij,jk,ik->i", design, np.linalg.inv(precision), design).mean())


def test_each_step_is_the_best_one() -> None:
    design = np.random.default_rng(0).normal(size=(30, 5)) * [3, 1, 1, 0.3, 0.1]
    order = informative_order(design, 8, NOISE)
    for step in range(8):
        others = set(range(30)) - set(order[:step])
        best = min(others, key=lambda row: mean_variance(design, [*order[:step], row]))
        assert order[step] == best


def test_what_comes_first_counts() -> None:
    design = np.eye(4) * [[4], [3], [2], [1]]
    assert informative_order(design, 4, NOISE) == [0, 1, 2, 3]
    twice = np.vstack([design, design[0]])  # the last row teaches what the first one does
    assert informative_order(twice, 4, NOISE, first=[4]) == [4, 1, 2, 3]
    with pytest.raises(ValueError, match="at most 4"):
        informative_order(design, 5, NOISE)


def test_networks_are_chosen_once_and_cover_the_costs_first(
    make_machine: Any, networks: list[Network]
) -> None:
    machine = make_machine(noise=0.0)
    blocks = list({b.signature: b for n in networks for b in n.blocks}.values())
    times = [machine.true_ms(block.as_network()) for block in blocks]
    table = fit_additive(blocks, times, machine.true_ms(call_network()))
    costs = {n.digest: sum(table.lone_ms(b)[0] for b in n.blocks) for n in networks}
    spread = spread_over_costs(networks, lambda n: costs[n.digest], 30)
    chosen = networks_to_fit(networks, table, 30)
    assert len({n.digest for n in chosen}) == len(chosen) == 30 < MOST_CHOSEN
    assert chosen[:16] == spread[:16]
    assert chosen != spread
    assert chosen == networks_to_fit(networks, table, 40)[:30]
