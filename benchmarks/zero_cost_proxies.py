"""Do zero-cost proxies go along with accuracy, and do they help a surrogate that knows sizes and operations already?

    python benchmarks/zero_cost_proxies.py --work DIR --table FILE --accuracy c10_val_200 --networks 256
    python benchmarks/zero_cost_proxies.py --work DIR --config configs/digits.yaml --epochs 8 --networks 128

With a table: random NAS-Bench-201 cells, their accuracies looked up; images are procedural shapes. With a config: random
networks of its space, each trained on its data. Printed are Spearman correlations with accuracy of each proxy, MACs and
parameters, then that of a surrogate (`search/surrogates/`) fitted to a few networks, on the rest: means over random
splits, without and with proxies as a group of features, and the paired difference with its standard deviation over
splits (which share networks, so its standard error is larger than that over the root of their number).

What was computed is kept in DIR, network by network: a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from zero_cost import PROXIES, proxy_scores

from archspace import Choices, NasBench201Space, SearchSpace
from child_models import (
    Dataset,
    ShapesConfig,
    count_macs,
    count_params,
    load_data,
    train_child,
)
from latency_models import MeasuredTable
from search.surrogates import ArchitectureFeatures, Learner
from search.surrogates.accuracy import GapTransform
from service.config_file import read_mapping, validate
from service.data_and_space import load_dataset, make_space
from service.run_config import RunConfig

Floats = NDArray[np.float64]
Truth = Callable[[Choices], float]

KNOWN = (16, 32, 48)
GROUPS: dict[str, tuple[str, ...]] = {
    "synflow": ("synflow",),
    "naswot": ("naswot",),
    "jacobian_covariance": ("jacobian_covariance",),
    "synflow + naswot": ("synflow", "naswot"),
    "all three": PROXIES,
}


def batch_of(dataset: Dataset, size: int) -> torch.Tensor:
    rows = np.sort(np.random.default_rng(0).choice(len(dataset.train), size, replace=False))
    return torch.from_numpy(dataset.normalise(dataset.train.images[rows]))


def record(
    space: SearchSpace, choices: Choices, truth: Truth, images: torch.Tensor
) -> dict[str, float]:
    """Accuracy, sizes, proxies and how long each of these took, of one network."""
    network, seed = space.resolve(choices), zlib.crc32(repr(choices).encode())
    found: dict[str, float] = {"macs": count_macs(network), "params": count_params(network)}
    start = time.perf_counter()
    found["accuracy"] = truth(choices)
    found["accuracy_seconds"] = time.perf_counter() - start
    for name in PROXIES:
        start = time.perf_counter()
        found[name] = proxy_scores(network, [name], images, seed)[name]
        found[f"{name}_seconds"] = time.perf_counter() - start
    return found


def records(
    path: Path, space: SearchSpace, chosen: Sequence[Choices], truth: Truth, images: torch.Tensor
) -> list[dict[str, float]]:
    """Of all `chosen`, from `path` where they are there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            known[tuple(row["choices"])] = row["found"]
    with path.open("a") as file:
        for choices in chosen:
            if choices not in known:
                known[choices] = record(space, choices, truth, images)
                file.write(json.dumps({"choices": choices, "found": known[choices]}) + "\n")
                file.flush()
    return [known[choices] for choices in chosen]


def judge(
    space: SearchSpace, chosen: Sequence[Choices], rows: Sequence[dict[str, float]], splits: int
) -> None:
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    accuracies = values["accuracy"]
    low, high = np.quantile(accuracies, [0.1, 0.9])
    print(
        f"{len(rows)} networks, accuracy {100 * low:.1f} to {100 * high:.1f} % (10 and 90 % quantiles)"
    )
    print("what | Spearman | of the better half | missing | s a network")
    better = accuracies >= np.median(accuracies)
    for name in ("macs", "params", *PROXIES):
        known = np.isfinite(values[name])
        all_, top = (
            spearmanr(values[name][mask], accuracies[mask]).statistic
            for mask in (known, known & better)
        )
        seconds = values.get(f"{name}_seconds", np.zeros(1)).mean()
        print(f"{name} | {all_:.3f} | {top:.3f} | {(~known).sum()} | {seconds:.3f}")
    print(f"accuracy took {values['accuracy_seconds'].mean():.3f} s a network")
    features = ArchitectureFeatures(space)(chosen)
    groups = {name: proxy_group(values, names) for name, names in GROUPS.items()}
    print("known | surrogate alone | " + " | ".join(f"with {name}" for name in groups))
    for count in KNOWN:
        print(f"{count} | {compared(features, groups, accuracies, count, splits)}", flush=True)


def proxy_group(values: dict[str, Floats], names: Sequence[str]) -> Floats:
    """(networks, proxies), scaled as other groups are; a missing value counts as the lowest."""
    columns = []
    for name in names:
        column = np.where(np.isfinite(values[name]), values[name], np.nanmin(values[name]))
        columns.append((column - column.mean()) / max(float(column.std()), 1e-12))
    return np.stack(columns, axis=1) / np.sqrt(2 * len(columns))


def compared(
    features: dict[str, Floats],
    groups: dict[str, Floats],
    accuracies: Floats,
    count: int,
    splits: int,
) -> str:
    """Spearman without proxies, then the paired gain of each group ± its standard deviation over splits."""
    alone, gains = [], {name: [] for name in groups}
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(accuracies))
        known, new = order[:count], order[count:]
        base = held_out(features, accuracies, known, new)
        alone.append(base)
        for name, group in groups.items():
            gains[name].append(
                held_out(features | {"proxies": group}, accuracies, known, new) - base
            )
    cells = [f"{np.mean(gain):+.3f} ± {np.std(gain):.3f}" for gain in gains.values()]
    return f"{np.mean(alone):.3f} | " + " | ".join(cells)


def held_out(
    features: dict[str, Floats], accuracies: Floats, known: NDArray[np.intp], new: NDArray[np.intp]
) -> float:
    transform = GapTransform.of(accuracies[known])
    model = Learner(0).fit(
        {name: group[known] for name, group in features.items()},
        transform.forward(accuracies[known]),
    )
    mean = model.predict({name: group[new] for name, group in features.items()}).mean
    return float(spearmanr(mean, accuracies[new]).statistic)


def sampled(space: SearchSpace, count: int, allowed: Callable[[Choices], bool]) -> list[Choices]:
    rng, found = np.random.default_rng(0), {}
    while len(found) < count:
        choices = space.sample(rng)
        if allowed(choices):
            found.setdefault(space.architecture(choices).digest, choices)
    return list(found.values())


def from_table(options: argparse.Namespace) -> None:
    path, column = options.table, options.accuracy
    table, space = MeasuredTable.read(path, columns=[column]), NasBench201Space()
    images = batch_of(
        load_data(ShapesConfig(num_train=600, num_validation=15, num_test=15)), options.batch
    )

    def truth(choices: Choices) -> float:
        value = table.value(space.arch_str(choices), column)
        assert value is not None
        return value / 100

    chosen = sampled(
        space, options.networks, lambda c: table.value(space.arch_str(c), column) is not None
    )
    print(f"NAS-Bench-201, {column}")
    judge(
        space,
        chosen,
        records(options.work / f"{column}.jsonl", space, chosen, truth, images),
        options.splits,
    )


def from_config(options: argparse.Namespace) -> None:
    path, epochs = options.config, options.epochs
    config = validate(RunConfig, read_mapping(path), str(path))
    dataset = load_dataset(config)
    space = make_space(config, dataset)

    def truth(choices: Choices) -> float:
        trained = train_child(
            space.resolve(choices), dataset, config.training, epochs=epochs, seed=0
        )
        return trained.exit_choice.accuracy

    chosen = sampled(space, options.networks, lambda _: True)
    print(f"{path.stem}, {epochs} epochs")
    file = options.work / f"{path.stem}-{epochs}.jsonl"
    judge(
        space,
        chosen,
        records(file, space, chosen, truth, batch_of(dataset, options.batch)),
        options.splits,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for what was computed")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--accuracy", help="column of the table, in percent")
    parser.add_argument("--config", type=Path, help="run file whose children are trained")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--networks", type=int, default=96)
    parser.add_argument("--splits", type=int, default=60, help="into networks known and new")
    parser.add_argument(
        "--batch", type=int, default=64, help="images; fewer than an image has pixels"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table:
        from_table(arguments)
    if arguments.config:
        from_config(arguments)


if __name__ == "__main__":
    main()
