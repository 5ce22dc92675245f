"""How many architectures a second cost models predict, from choices to costs, on one core.

    python benchmarks/cost_prediction.py configs/digits.yaml configs/shapes.yaml

NAS-Bench-201 with a model fitted to made-up costs (speed does not depend on them), alone and with intervals; then each
config's space with a profile of this machine, by choices and, for comparison, network by network. Medians of rounds,
interleaved.
"""

# ruff: noqa: E402 (thread counts must be set before NumPy is imported)

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from archspace import NasBench201Space, SearchSpace
from latency_models import ProfileConfig, fit_choice_model, profile_device
from service.latency_inputs import config_space

ROUNDS = 7
COUNT = 20_000
FEW = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", type=Path)
    arguments = parser.parse_args()
    cases = nasbench201_cases()
    for config in arguments.configs:
        cases += staged_cases(config)
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for _ in range(ROUNDS):
        for name, _, predict in cases:
            start = time.perf_counter()
            predict()
            seconds[name].append(time.perf_counter() - start)
    print("what                                            architectures/s")
    for name, count, _ in cases:
        print(f"{name:48}{count / statistics.median(seconds[name]):>15,.0f}")


Case = tuple[str, int, Callable[[], object]]


def nasbench201_cases() -> list[Case]:
    space, rng = NasBench201Space(), np.random.default_rng(0)
    choices = rng.integers(0, 5, (COUNT, 6))
    costs = rng.normal(10, 1, 900)
    model = fit_choice_model(space, choices[:900], costs, pool=choices[:2000])
    return [
        ("nasbench201", COUNT, lambda: model.predict(choices)),
        ("nasbench201, with intervals", COUNT, lambda: model.predict_with_std(choices)),
    ]


def staged_cases(config: Path) -> list[Case]:
    space = config_space(config)
    model = profile_device(space, profile_config=ProfileConfig(budget_s=10)).cost_model()
    rows = sampled(space)
    networks = [space.resolve(row) for row in rows[:FEW]]
    return [
        (f"{config.stem}, choices", len(rows), lambda: model.predict_choices(space, rows)),
        (f"{config.stem}, resolved networks", FEW, lambda: model.predict(networks)),
    ]


def sampled(space: SearchSpace) -> np.ndarray:
    """Valid choices; sampling is slow, so few are drawn and repeated."""
    rng = np.random.default_rng(0)
    drawn = np.array([space.sample(rng) for _ in range(FEW)])
    return np.tile(drawn, (COUNT // FEW, 1))


if __name__ == "__main__":
    main()
