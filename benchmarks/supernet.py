"""What shared weights foretell: accuracies with inherited weights against those of the same networks trained alone.

    python benchmarks/supernet.py configs/shapes-halving.yaml --epochs 30 60 120 --children 24 --work DIR

Random networks of the config's space are trained at its full search schedule, once; each length of shared training is a
training of its own. Printed: mean accuracy with inherited weights, Spearman correlation with its 95 % bootstrap interval, and what it
took. Trained children and supernets stay in --work and are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from archspace import SearchSpace, write_atomic
from child_models import Dataset, train_child
from child_models.supernet.config import SupernetConfig
from child_models.supernet.inheriting import inherit
from child_models.supernet.training import train_supernet
from service.config_file import apply_overrides, read_mapping, validate
from service.data_and_space import load_dataset, make_space
from service.run_config import RunConfig

SEED = 5
DRAWS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[30, 60, 120])
    parser.add_argument("--children", type=int, default=24)
    parser.add_argument("--paths", type=int, default=1)
    parser.add_argument("--sandwich", action="store_true")
    parser.add_argument("--work", type=Path, required=True, help="children and supernets")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # as children are trained in a search
    data = apply_overrides(read_mapping(arguments.config), arguments.overrides)
    config = validate(RunConfig, data, str(arguments.config))
    dataset = load_dataset(config)
    space = make_space(config, dataset)
    rng = np.random.default_rng(SEED)
    drawn = [space.sample(rng) for _ in range(arguments.children)]
    alone = [
        trained_alone(config, space, dataset, choices, number, arguments.work)
        for number, choices in enumerate(drawn)
    ]
    accuracies = np.array([accuracy for accuracy, _ in alone])
    print(
        f"{len(alone)} networks trained alone, {config.schedule.search_epochs} epochs: mean {100 * accuracies.mean():.1f} %, "
        f"standard deviation {100 * accuracies.std(ddof=1):.1f}, {np.mean([s for _, s in alone]):.1f} s each",
        flush=True,
    )
    for epochs in arguments.epochs:
        settings = SupernetConfig(epochs=epochs, paths=arguments.paths, sandwich=arguments.sandwich)
        report(config, space, dataset, settings, drawn, accuracies, arguments.work)


def trained_alone(
    config: RunConfig,
    space: SearchSpace,
    dataset: Dataset,
    choices: tuple[int, ...],
    number: int,
    work: Path,
) -> tuple[float, float]:
    """(validation accuracy of the final head, seconds), trained now or on record."""
    network = space.resolve(choices)
    path = work / f"child-{network.digest}-{config.schedule.search_epochs}.json"
    if not path.is_file():
        started = time.perf_counter()
        trained = train_child(
            network, dataset, config.training, epochs=config.schedule.search_epochs, seed=number
        )
        seconds = time.perf_counter() - started
        write_atomic(path, json.dumps([trained.exit_choice.accuracy_no_exit, seconds]))
    accuracy, seconds = json.loads(path.read_text())
    return accuracy, seconds


def report(
    config: RunConfig,
    space: SearchSpace,
    dataset: Dataset,
    settings: SupernetConfig,
    drawn: list[tuple[int, ...]],
    alone: NDArray[np.float64],
    work: Path,
) -> None:
    """Train for `settings`, or read what is there; print one line."""
    kind = f"{settings.epochs}-{settings.paths}{'-sandwich' if settings.sandwich else ''}"
    note, started = work / f"supernet-{kind}.json", time.perf_counter()
    weights = train_supernet(
        space, dataset, config.training, settings, state=work / f"supernet-{kind}.safetensors"
    )
    if not note.is_file():
        write_atomic(note, json.dumps(time.perf_counter() - started))
    started = time.perf_counter()
    inherited = np.array(
        [
            inherit(
                space.resolve(choices), weights, dataset, config.training
            ).exit_choice.accuracy_no_exit
            for choices in drawn
        ]
    )
    seconds = (time.perf_counter() - started) / len(drawn)
    shown = settings.epochs * settings.networks_a_step / config.schedule.search_epochs
    low, high = interval(inherited, alone)
    print(
        f"supernet {kind}: mean {100 * inherited.mean():.1f} %, standard deviation {100 * inherited.std(ddof=1):.1f}; "
        f"Spearman {stats.spearmanr(inherited, alone).statistic:.2f} ({low:.2f} to {high:.2f}); "
        f"trained in {json.loads(note.read_text()):.0f} s (images of {shown:.1f} full children), {seconds:.2f} s a network",
        flush=True,
    )


def interval(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of Spearman's correlation, over networks."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        rows = rng.integers(len(one), size=len(one))
        if np.ptp(one[rows]) and np.ptp(other[rows]):
            found.append(stats.spearmanr(one[rows], other[rows]).statistic)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
