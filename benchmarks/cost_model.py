"""How well the cost model predicts this machine: held-out networks beside the noise ceiling.

    python benchmarks/cost_model.py configs/digits.yaml configs/shapes.yaml --seeds 3

Profiles the device for each config's space and prints, a profile a line, the rank correlation, the mean error and
the share of held-out networks within ± 10 %, each beside what measuring the same networks twice gives.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from latency_models import CostModelRefused, ProfileReport, profile_device
from service.config_file import read_mapping, validate
from service.data_and_space import load_dataset, make_space
from service.run_config import RunConfig

HEADER = (
    "config", "seed", "Spearman", "(ceiling)", "MAPE %", "(ceiling)", "within 10 %", "(ceiling)",
    "fit", "held out", "blocks", "range ms", "seconds",
)  # fmt: skip


def row(name: str, seed: int, report: ProfileReport) -> tuple[str, ...]:
    return (
        name,
        str(seed),
        f"{report.spearman:.3f}",
        f"({report.ceiling_spearman:.3f})",
        f"{100 * report.mape:.1f}",
        f"({100 * report.ceiling_mape:.1f})",
        f"{100 * report.within_10:.0f}",
        f"({100 * report.ceiling_within_10:.0f})",
        str(report.num_fit),
        str(report.num_held_out),
        f"{report.num_blocks_measured}/{report.num_blocks_used}",
        f"{report.fastest_ms:.4f}-{report.slowest_ms:.4f}",
        f"{report.seconds:.0f}",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", type=Path, help="run files whose spaces are profiled")
    parser.add_argument("--seeds", type=int, default=1, help="profiles a config")
    parser.add_argument("--budget-s", type=float, help="instead of the config's profile.budget_s")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    print(" | ".join(HEADER))
    refused = 0
    for path in options.configs:
        config = validate(RunConfig, read_mapping(path), str(path))
        dataset = load_dataset(config) if config.data is not None else None
        space = make_space(config, dataset)
        profile = config.profile
        if options.budget_s is not None:
            profile = type(profile)(**{**profile.model_dump(), "budget_s": options.budget_s})
        for seed in range(options.seeds):
            try:
                file = profile_device(space, config.device, profile, seed=seed)
            except CostModelRefused as error:
                refused += 1
                print(f"{path.stem} | {seed} | refused: {error}", flush=True)
                continue
            print(" | ".join(row(path.stem, seed, file.report)), flush=True)
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
