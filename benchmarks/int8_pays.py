"""How many times as fast the networks of a space are in INT8, as its cost model says after a profile of both forms.

    python benchmarks/int8_pays.py configs/shapes.yaml configs/shapes-bits.yaml

Prints, a config a line: the profile's error on held-out networks (half of them in INT8), quantiles of float32's latency over
INT8's in 400 random networks, and the share of networks that INT8 makes faster. Below it, by operation, the median of that
ratio over the space's blocks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from archspace import Block, StagedSpace
from latency_models import CostModel, ProfileConfig, profile_device
from service.config_file import read_mapping, validate
from service.data_and_space import load_dataset
from service.run_config import RunConfig

NETWORKS = 400
QUANTILES = (0.05, 0.5, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--budget-s", type=float, default=40.0, help="of each profile")
    options = parser.parse_args()
    print("config | Spearman | MAPE | float32 ms, 5/50/95 % | float32 / INT8, 5/50/95 % | faster")
    for path in options.configs:
        print(row(path, options.budget_s), flush=True)


def row(path: Path, budget_s: float) -> str:
    """One space, its bits replaced by 32 and 8."""
    config = validate(RunConfig, read_mapping(path), str(path))
    dataset = load_dataset(config)
    both = config.space.model_copy(update={"bits": (32, 8)})
    assert config.space.kind == "staged", "other spaces have no bits"
    space = StagedSpace(both, input_shape=dataset.input_shape, num_classes=dataset.num_classes)  # type: ignore[arg-type]
    device = profile_device(space, config.device, ProfileConfig(budget_s=budget_s))
    model = device.cost_model()
    rng = np.random.default_rng(0)
    networks = [space.resolve(space.sample(rng)) for _ in range(NETWORKS)]
    float32, int8 = (
        np.array([cost.latency_ms[-1].value for cost in model.predict(form)])
        for form in (
            [network.with_bits(32) for network in networks],
            [network.with_bits(8) for network in networks],
        )
    )
    times = " / ".join(f"{value:.3f}" for value in np.quantile(float32, QUANTILES))
    ratios = " / ".join(f"{value:.2f}" for value in np.quantile(float32 / int8, QUANTILES))
    share = float((int8 < float32).mean())
    quality = device.report
    line = f"{path.stem} | {quality.spearman:.3f} | {100 * quality.mape:.1f} % | {times} | {ratios} | {100 * share:.0f} %"
    return f"{line}\n    {by_operation(space, model)}"


def by_operation(space: StagedSpace, model: CostModel) -> str:
    """Median of float32's cost over INT8's, a kind of block."""
    seen: list[Block] = []

    def see(block: Block) -> float:
        seen.append(block)
        return 0.0

    space.minimum_cost((), see)
    ratios: dict[str, list[float]] = {}
    for block in seen:
        if not block.is_int8:
            costs = [model.block_latency_ms(block.with_bits(bits)) for bits in (32, 8)]
            ratios.setdefault(block.name, []).append(costs[0] / costs[1])
    return ", ".join(f"{name} {np.median(own):.2f}" for name, own in ratios.items())


if __name__ == "__main__":
    main()
