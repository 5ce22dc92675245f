"""What pruning costs in accuracy and brings in time: each score beside random pruning and the smaller network from nothing.

    python benchmarks/pruning.py --work DIR [--data shapes] [--seeds 5]

A residual network of plain convolutions is trained once a seed. Then

1. one round to half and to a quarter of the parameters with each score, and the network that `l2` leaves trained from
   nothing for as many epochs as the whole and the pruned one together;
2. three rounds to a quarter of the parameters, with the labels and with what the network was before as teacher;
3. latency of the whole network and of one with half of its channels, interleaved in one process.

Everything is kept in DIR (JSON lines, weights), and a second call goes on from there. Rounds are judged on validation images; test
accuracies are read by the tables at the end.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import get_args

import torch
from distillation_cases import CASES
from distillation_report import paired
from headline_records import Lines
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from child_models import TrainingConfig, count_macs, count_params, load_data, train_child
from compress import AlphaMix, DistilConfig, PruneConfig, Stage, TrainedModel, distil, prune
from compress.deployed import deployed_file
from compress.figures import measure_files
from compress.plan import FINE_TUNING_RATE
from compress.pruning.config import Method
from latency_models import Device

WHOLE_EPOCHS = {"shapes": 16, "digits": 40}
ROUND_EPOCHS = {"shapes": 6, "digits": 15}
SHARES = (0.5, 0.25)
SCRATCH = "from nothing"
WHOLE = "whole"
THREE = "three rounds"
TAUGHT = "three rounds, taught"


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

    def __init__(self, work: Path, data: str) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._work, self._data = work, data
        self._case = CASES[data]  # type: ignore[index]
        self._dataset = load_data(self._case.data)
        self._lines = Lines(work / f"{data}.jsonl", Run)
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
        path = self._work / f"{self._data}-{seed}.safetensors"
        if not path.is_file():
            epochs = WHOLE_EPOCHS[self._data]
            trained = train_child(
                network, self._dataset, TrainingConfig(), epochs=epochs, seed=seed
            )
            save_file(trained.weights, path)
        return TrainedModel.of(network, load_file(path))

    def latencies(self) -> list[list[float]]:
        """[whole, half of the channels] × [batch 1, batch 16] in ms."""
        whole = self.whole(0)
        half = self._pruned(
            whole, PruneConfig(method="l2", channels=0.5, ranking="uniform", rounds=1, epochs=0), 0
        )
        files = [deployed_file(model) for model in (whole, half)]
        print(f"MACs ÷ {count_macs(whole.network) / count_macs(half.network):.2f}")
        costs = measure_files(files, Device.here(), rounds=15)
        return [[cost.value for cost in row] for row in costs]

    def _made(self, name: str, share: float, seed: int) -> TrainedModel:
        whole = self.whole(seed)
        epochs = ROUND_EPOCHS[self._data]
        if name == WHOLE:
            return whole
        if name == SCRATCH:
            config = PruneConfig(method="l2", keep_params=share, rounds=1, epochs=0)
            network = self._pruned(whole, config, seed).network
            total = WHOLE_EPOCHS[self._data] + epochs
            trained = train_child(network, self._dataset, TrainingConfig(), epochs=total, seed=seed)
            return TrainedModel.of(network, trained.weights)
        if name in (THREE, TAUGHT):
            config = PruneConfig(method="taylor", keep_params=share, rounds=3, epochs=epochs)
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


def table(runs: dict[tuple[str, float], list[Run]], share: float, names: list[str]) -> str:
    """Test accuracies, and differences to the whole network and to random pruning, paired by seed."""
    whole = [run.test_accuracy for run in runs[WHOLE, 1.0]]
    chance = [run.test_accuracy for run in runs.get(("random", share), [])]
    rows = [
        f"at most {100 * share:g} % of the parameters, {len(whole)} seeds; whole {100 * statistics.fmean(whole):.2f} %",
        "",
        "| method | parameters | test, mean ± sd | against the whole, points (95 % interval) | against random, points (95 % interval) |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        own = [run.test_accuracy for run in runs[name, share]]
        sd = statistics.stdev(own) if len(own) > 1 else float("nan")
        params = statistics.fmean(run.num_params for run in runs[name, share])
        cells = [name, f"{params:,.0f}", f"{100 * statistics.fmean(own):.2f} ± {100 * sd:.2f} %"]
        for other in (whole, chance):
            if not other or (other is chance and name == "random"):
                cells.append("")
                continue
            gain = paired(own, other)
            cells.append(
                f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
            )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", choices=sorted(CASES), default="shapes")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.work, arguments.data)
    methods = [*get_args(Method), SCRATCH]
    jobs = [(WHOLE, 1.0), (THREE, 0.25), (TAUGHT, 0.25)]
    jobs += [(name, share) for share in SHARES for name in methods]
    runs: dict[tuple[str, float], list[Run]] = {job: [] for job in jobs}
    for seed in range(arguments.seeds):
        for job in jobs:
            runs[job].append(bench.run(*job, seed))
    for share in SHARES:
        more = [THREE, TAUGHT] if share == 0.25 else []
        print("\n" + table(runs, share, [*methods, *more]))
    whole, half = bench.latencies()
    for batch, before, after in zip((1, 16), whole, half, strict=True):
        print(
            f"half of the channels, batch {batch}: {before:.4f} → {after:.4f} ms, {before / after:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
