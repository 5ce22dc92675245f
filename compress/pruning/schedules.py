"""How much is pruned after each round: the share of the original channels that is gone by then."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["one_shot", "linear", "cubic", "exponential"]
ALPHA = 0.3
"""Of the exponential schedule: how much of the pruning comes early."""


def pruned_share(schedule: ScheduleName, done: int, rounds: int, largest: float) -> float:
    """Share of the original channels that is gone after `done` of `rounds` rounds: 0 at first, `largest` in the end.

    | schedule | share after round k of K |
    |---|---|
    | one_shot | ρ_max from round 1 on |
    | linear | ρ_max·k/K |
    | cubic | ρ_max·(1 − (1 − k/K)³) (Zhu & Gupta 2017, equation 1) |
    | exponential | ρ_max·(1 − e^(−αk))/(1 − e^(−αK)), α = 0.3 |

    Raises:
        ValueError: `done` outside 0 to `rounds`, no rounds, or `largest` outside [0, 1].
    """
    if rounds < 1 or not 0 <= done <= rounds:
        raise ValueError(f"expected 0 to {rounds} rounds of at least 1, got {done}")
    if not 0 <= largest <= 1:
        raise ValueError(f"expected a share from 0 to 1, got {largest}")
    if done == rounds:
        return largest  # hit exactly, whatever rounding does to the formulas
    progress = done / rounds
    match schedule:
        case "one_shot":
            factor = 1.0 if done else 0.0
        case "linear":
            factor = progress
        case "cubic":
            factor = 1 - (1 - progress) ** 3
        case "exponential":
            factor = math.expm1(-ALPHA * done) / math.expm1(-ALPHA * rounds)
    return largest * factor
