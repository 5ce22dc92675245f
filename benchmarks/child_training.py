"""Throughput of child training: this project's loop in two processes against a plain one, in one run.

    python benchmarks/child_training.py [--data shapes] [--operations conv_k3] [--channels 32 64 128]

The plain loop is what one writes first: one process and thread, float32, channels-first, AdamW as it comes, no
augmentation (which is in its favour). Rounds of both are interleaved, so that a noisy machine treats them alike.
Without options, three networks are compared: depthwise on digits, depthwise and plain convolutions on shapes.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing as mp
import os
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

LoopName = Literal["plain", "ours"]
PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network on one data set."""

    data: Literal["digits", "shapes"]
    operations: tuple[str, ...]
    channels: tuple[int, ...]
    batch_size: int = 64


CASES = (
    Case(data="digits", operations=("dwconv_k3",), channels=(24, 48, 64)),
    Case(data="shapes", operations=("dwconv_k3",), channels=(24, 48, 64)),
    Case(data="shapes", operations=("conv_k3",), channels=(24, 48, 64)),
)


class _TimeIsUp(Exception):
    """Ends a measurement from inside the training loop."""


class Bench:
    """Runs in a worker process: both loops on one network."""

    def __init__(self, case: Case) -> None:
        import numpy as np
        import torch

        from archspace import StageConfig, StagedSpace, StagedSpaceConfig
        from child_models import DigitsConfig, ShapesConfig, TrainingConfig, load_data

        torch.set_num_threads(1)
        config = DigitsConfig() if case.data == "digits" else ShapesConfig(num_train=1500)
        self.dataset = load_data(config)
        stages = tuple(
            StageConfig(channels=width, layers=2, stride=1 if number == 0 else 2)
            for number, width in enumerate(case.channels)
        )
        space = StagedSpace(
            StagedSpaceConfig(
                stem_stride=1 if case.data == "digits" else 2,
                stages=stages,
                operations=case.operations,
                keep_ratios=(1.0,),
                early_exits=False,
            ),
            input_shape=self.dataset.input_shape,
            num_classes=self.dataset.num_classes,
        )
        self.network = space.resolve(space.sample(np.random.default_rng(0)))
        self.config = TrainingConfig(batch_size=case.batch_size)

    def describe(self) -> str:
        """Size and precision of what is trained."""
        from child_models import count_macs, count_params
        from child_models.precision import chosen_precision

        return (
            f"{count_params(self.network):,} parameters, {count_macs(self.network) / 1e6:.2f} M MACs, "
            f"{chosen_precision(self.config.precision, self.network)}"
        )

    def ours(self, seconds: float) -> float:
        """Images a second of `train_child`, its first 3 steps left out."""
        from child_models import train_child

        times: list[float] = []

        def on_step(step: int, total: int) -> None:
            times.append(time.perf_counter())
            if len(times) > 3 and times[-1] - times[2] > seconds:
                raise _TimeIsUp

        with contextlib.suppress(_TimeIsUp):
            train_child(
                self.network, self.dataset, self.config, epochs=10_000, seed=0, on_step=on_step
            )
        steps_an_epoch = -(-len(self.dataset.train) // self.config.batch_size)
        images_a_step = len(self.dataset.train) / steps_an_epoch
        return (len(times) - 3) * images_a_step / (times[-1] - times[2])

    def plain(self, seconds: float) -> float:
        """Images a second of the loop that one writes first, its first 3 steps left out."""
        import torch
        import torch.nn.functional as F

        from child_models import build_module

        torch.manual_seed(0)
        images = torch.from_numpy(self.dataset.normalise(self.dataset.train.images))
        labels = torch.from_numpy(self.dataset.train.labels)
        module = build_module(self.network)
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.001)
        done, start = -3, 0.0
        while True:
            for batch in torch.randperm(len(labels)).split(self.config.batch_size):
                loss = F.cross_entropy(module(images[batch])[-1], labels[batch])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                done += 1
                if done == 0:
                    start, count = time.perf_counter(), 0
                elif done > 0:
                    count += len(batch)
                    if time.perf_counter() - start > seconds:
                        return count / (time.perf_counter() - start)


def _worker(case: Case, pipe: Connection) -> None:
    bench = Bench(case)
    pipe.send(bench.describe())
    while (order := pipe.recv()) is not None:
        name, seconds = order
        pipe.send(bench.plain(seconds) if name == "plain" else bench.ours(seconds))


def compare(case: Case, *, rounds: int, seconds: float) -> tuple[str, dict[str, list[float]]]:
    """Images a second of each arrangement, one number a round; and what the network is."""
    context = mp.get_context("spawn")
    pipes, workers = [], []
    for _ in range(PROCESSES):
        here, there = context.Pipe()
        worker = context.Process(target=_worker, args=(case, there), daemon=True)
        worker.start()
        pipes.append(here)
        workers.append(worker)
    description = str([pipe.recv() for pipe in pipes][-1])

    def run(name: LoopName, processes: int) -> float:
        for pipe in pipes[:processes]:
            pipe.send((name, seconds))
        return float(sum(pipe.recv() for pipe in pipes[:processes]))

    rates: dict[str, list[float]] = {"plain, 1 process": [], "ours, 1 process": [], "ours": []}
    for _ in range(rounds):
        rates["plain, 1 process"].append(run("plain", 1))
        rates["ours, 1 process"].append(run("ours", 1))
        rates["ours"].append(run("ours", PROCESSES))
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(None)
        worker.join()
    return description, rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "shapes"))
    parser.add_argument("--operations", nargs="+", default=["dwconv_k3"])
    parser.add_argument("--channels", nargs="+", type=int, default=[24, 48, 64])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = CASES
    if args.data:
        cases = (
            Case(
                data=args.data,
                operations=tuple(args.operations),
                channels=tuple(args.channels),
                batch_size=args.batch_size,
            ),
        )
    for case in cases:
        description, rates = compare(case, rounds=args.rounds, seconds=args.seconds)
        print(f"\n{case.data}, {'/'.join(case.operations)} {case.channels}: {description}")
        print(f"{'':18}  images/s (median, lowest-highest)    against plain")
        for name, values in rates.items():
            ratios = [a / b for a, b in zip(values, rates["plain, 1 process"], strict=True)]
            label = f"{name}, {PROCESSES} processes" if name == "ours" else name
            print(
                f"{label:18} {statistics.median(values):8,.0f} ({min(values):,.0f}-{max(values):,.0f})"
                f"    {statistics.median(ratios):.2f}×"
            )


if __name__ == "__main__":
    main()
