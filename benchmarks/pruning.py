"""What pruning costs in accuracy and brings in time: each score beside random pruning and the smaller network from nothing.

    python benchmarks/pruning.py --work DIR [--data shapes] [--seeds 5] [--first-seed 0] [--methods …] [--shares 0.5 0.25] [--plot FILE] [--tiny]

A residual network of plain convolutions is trained once a seed until it has converged. Then

1. one round to each share of the parameters with each score, and the network that `l2` leaves trained from nothing for as
   many epochs as the whole and the pruned one together;
2. three rounds to a quarter of the parameters, with the labels and with what the network was before as teacher;
3. the control for both: the whole network tuned further for as many epochs, with the same settings;
4. latency of the whole network and of one with half of its channels, interleaved in one process.

Everything is kept in DIR (JSON lines, weights), and a second call goes on from there, seed by seed. Rounds are judged on
validation images; test accuracies are read by the tables at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from distillation_cases import CASES
from headline_records import Lines
from pruning_report import Row, table, verdict, write_plot
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from child_models import TrainingConfig, count_macs, count_params, load_data, train_child
from compress import AlphaMix, DistilConfig, PruneConfig, Stage, TrainedModel, distil, prune, tune
from compress.deployed import deployed_file
from compress.figures import measure_files
from compress.plan import FINE_TUNING_RATE
from compress.pruning.config import Method
from latency_models import Device

QUARTER = 0.25
SHARES = (0.5, QUARTER)
ROUNDS = 3
WHOLE = "whole"
FURTHER = "whole, tuned as after one round"
FURTHER_THREE = "whole, tuned as after three rounds"
SCRATCH = "from nothing"
THREE = "three rounds"
TAUGHT = "three rounds, taught"
METHODS = (*get_args(Method), SCRATCH, THREE, TAUGHT)
SMALL = {"num_train": 150, "num_validation": 60, "num_test": 60}


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Of the whole network, and of each round of pruning."""

    whole: int
    round: int


EPOCHS = {"shapes": Epochs(whole=48, round=6), "digits": Epochs(whole=60, round=15)}
TINY = Epochs(whole=2, round=1)


class Run(BaseModel):
    """One network; accuracies are shares 0-1 at the final head, `share` that of the parameters asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    share: float
    seed: int
    num_params: int
    macs: int
    validation_accuracy: float
    test_accuracy: float


class Bench:
    """Does what is not yet in the folder."""

    def __init__(self, work: Path, data: str, *, tiny: bool = False) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.epochs = TINY if tiny else EPOCHS[data]
        self._case = CASES[data]  # type: ignore[index]
        small = SMALL if tiny and data == "shapes" else {}
        self._dataset = load_data(self._case.data.model_copy(update=small))
        # records of other epochs are other files
        self._stem = work / f"{data}-{self.epochs.whole}-{self.epochs.round}"
        self._lines = Lines(Path(f"{self._stem}.jsonl"), Run)
        self._gentle = TrainingConfig(learning_rate=FINE_TUNING_RATE)

    def run(self, name: str, share: float, seed: int) -> Run:
        """From the folder, or done now."""
        for known in self._lines.records:
            if (known.name, known.share, known.seed) == (name, share, seed):
                return known
        model = self._made(name, share, seed)
        done = Run(
            name=name,
            share=share,
            seed=seed,
            num_params=count_params(model.network),
            macs=count_macs(model.network),
            validation_accuracy=model.accuracy(self._dataset.validation, self._dataset),
            test_accuracy=model.accuracy(self._dataset.test, self._dataset),
        )
        self._lines.add([done])
        print(
            f"{done.name} {done.share:g} seed {seed}: {100 * done.validation_accuracy:.2f} %",
            flush=True,
        )
        return done

    def whole(self, seed: int) -> TrainedModel:
        """Trained once a seed, then read from its file."""
        network = self._case.teacher.network(self._dataset, self._case.stem_stride)
        path = Path(f"{self._stem}-{seed}.safetensors")
        if not path.is_file():
            trained = train_child(
                network, self._dataset, TrainingConfig(), epochs=self.epochs.whole, seed=seed
            )
            save_file(trained.weights, path.with_suffix(".partial"))
            path.with_suffix(".partial").rename(path)
        return TrainedModel.of(network, load_file(path))

    def latencies(self, seed: int) -> list[list[float]]:
        """[whole, half of the channels] × [batch 1, batch 16] in ms."""
        whole = self.whole(seed)
        half = self._pruned(
            whole, PruneConfig(method="l2", channels=0.5, ranking="uniform", rounds=1, epochs=0), 0
        )
        files = [deployed_file(model) for model in (whole, half)]
        print(f"MACs ÷ {count_macs(whole.network) / count_macs(half.network):.2f}")
        costs = measure_files(files, Device.here(), rounds=15)
        return [[cost.value for cost in row] for row in costs]

    def _made(self, name: str, share: float, seed: int) -> TrainedModel:
        whole = self.whole(seed)
        epochs = self.epochs.round
        if name == WHOLE:
            return whole
        if name in (FURTHER, FURTHER_THREE):
            total = epochs if name == FURTHER else ROUNDS * epochs
            return tune(whole, self._dataset, self._gentle, epochs=total, seed=seed).model
        if name == SCRATCH:
            config = PruneConfig(method="l2", keep_params=share, rounds=1, epochs=0)
            network = self._pruned(whole, config, seed).network
            total = self.epochs.whole + epochs
            trained = train_child(network, self._dataset, TrainingConfig(), epochs=total, seed=seed)
            return TrainedModel.of(network, trained.weights)
        if name in (THREE, TAUGHT):
            config = PruneConfig(method="taylor", keep_params=share, rounds=ROUNDS, epochs=epochs)
            return self._pruned(whole, config, seed, taught=name == TAUGHT)
        config = PruneConfig(method=name, keep_params=share, rounds=1, epochs=epochs)  # type: ignore[arg-type]
        return self._pruned(whole, config, seed)

    def _pruned(
        self, whole: TrainedModel, config: PruneConfig, seed: int, *, taught: bool = False
    ) -> TrainedModel:
        def teach(model: TrainedModel, epochs: int, own: int) -> TrainedModel:
            lesson = DistilConfig(stages=(Stage(mix=AlphaMix()),))
            return distil(
                model, whole, self._dataset, lesson, self._gentle, epochs=epochs, seed=own
            ).model

        return prune(
            whole,
            self._dataset,
            config,
            self._gentle,
            seed=seed,
            tune_with=teach if taught else None,
        ).model


Job = tuple[str, float]
"""Name and share of the parameters."""


def jobs_of(methods: Sequence[str], shares: Sequence[float]) -> list[Job]:
    """What is done for each seed, in order: the whole network and its controls, then `methods`."""
    rounds = [name for name in methods if name in (THREE, TAUGHT)]
    found = [(WHOLE, 1.0), (FURTHER, 1.0), *((FURTHER_THREE, 1.0) for _ in rounds[:1])]
    found += [(name, QUARTER) for name in rounds]
    return found + [(name, share) for share in shares for name in methods if name not in rounds]


def report(runs: dict[Job, list[Run]], seeds: int) -> str:
    """A table a share of the parameters, and whether the aim is met."""
    rows = _rows(runs)
    whole = rows[WHOLE, 1.0]
    parts = []
    for share in sorted({share for _, share in runs}, reverse=True):
        against = {"the whole": whole.accuracies}
        if ("random", share) in rows:
            against["random"] = rows["random", share].accuracies
        if (SCRATCH, share) in rows:
            against[SCRATCH] = rows[SCRATCH, share].accuracies
        what = "all" if share == 1 else f"at most {100 * share:g} %"
        title = f"{what} of the parameters, {seeds} seeds"
        parts.append(table(title, [rows[job] for job in rows if job[1] == share], against))
    parts += [
        verdict(rows[name, QUARTER], whole.accuracies, QUARTER, whole.parameters[0])
        for name in (THREE, TAUGHT)
        if (name, QUARTER) in rows
    ]
    return "\n\n".join(parts)


def plot(runs: dict[Job, list[Run]], path: Path) -> Path:
    """The picture of all networks that are smaller than the whole."""
    rows = _rows(runs)
    smaller = [rows[name, share] for name, share in rows if share < 1]
    return write_plot(sorted(smaller, key=_parameters, reverse=True), rows[WHOLE, 1.0], path)


def _parameters(row: Row) -> float:
    return sum(row.parameters)


def _rows(runs: dict[Job, list[Run]]) -> dict[Job, Row]:
    return {job: _row(job, runs) for job in runs}


def _row(job: Job, runs: dict[Job, list[Run]]) -> Row:
    name, share = job
    control = FURTHER_THREE if name in (THREE, TAUGHT) else FURTHER
    tuned = [] if share == 1.0 else [run.test_accuracy for run in runs[control, 1.0]]
    own = runs[job]
    return Row(
        name=name,
        accuracies=[run.test_accuracy for run in own],
        parameters=[run.num_params for run in own],
        tuned=tuned,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", choices=sorted(CASES), default="shapes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="for one round")
    parser.add_argument("--plot", type=Path, help="an HTML file for the picture")
    parser.add_argument("--tiny", action="store_true", help="two epochs: only to see that it runs")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench = Bench(options.work, options.data, tiny=options.tiny)
    jobs = jobs_of(options.methods, options.shares)
    runs: dict[Job, list[Run]] = {job: [] for job in jobs}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for job in jobs:
            runs[job].append(bench.run(*job, seed))
    print("\n" + report(runs, options.seeds))
    if options.plot is not None:
        print(f"picture: {plot(runs, options.plot)}")
    whole, half = bench.latencies(options.first_seed)
    for batch, before, after in zip((1, 16), whole, half, strict=True):
        print(
            f"half of the channels, batch {batch}: {before:.4f} → {after:.4f} ms, {before / after:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
