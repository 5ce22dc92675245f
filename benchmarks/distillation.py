"""What a teacher is worth to a small network: per term and mixed, over seeds, at equal epochs.

    python benchmarks/distillation.py --work DIR [--data few-shapes] [--seeds 5] [--epochs 24] [--teacher-epochs 24] [--methods KD "four terms"]

A teacher is trained for `--teacher-epochs`, without label smoothing, which takes from its answers what students learn from
(Müller et al. 2019, "When does label smoothing help?", section 4), then students without it, from the largest to the smallest, until one trails the teacher
by 5.5 points on validation images, mean of 3 seeds (5 are wanted over the seeds), and trains steadily (a standard deviation of at
most 3 points: else differences would be those of luck). That student is then trained alone and with each method, once a
seed: equal first weights, order of the images and number of epochs (`--epochs`) within a seed, and every image in as many
augmented views as there are epochs.
Nothing is chosen on test images; their accuracy is looked at by the report at the end.

What is done is kept in DIR (JSON lines, weights, the teacher's answers), and a second call goes on from there. The
answers take some disk: 27 kB an image and epoch for shapes; `--live` runs the teacher on each batch instead.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from distillation_cases import ALONE, CASES, LEAST_GAP, METHODS, MORE_METHODS, MOST_SPREAD, Case
from distillation_report import report, verdict
from headline_records import Lines
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from archspace import Network, write_atomic
from child_models import (
    Dataset,
    Split,
    TrainingConfig,
    count_macs,
    count_params,
    load_data,
    train_child,
)
from compress import DistilConfig, TrainedModel, distil

TEACHER_SEED = 0
CHOOSING_SEEDS = (1_000, 1_001, 1_002)
"""Of the students that are tried; none of the compared ones has them."""


class Plan(BaseModel):
    """What all records of a folder have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    epochs: int
    teacher_epochs: int
    live: bool
    methods: dict[str, DistilConfig]


class Run(BaseModel):
    """One training; accuracies are shares 0-1 at the final head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    digest: str
    seed: int
    num_params: int
    macs: int
    validation_accuracy: float
    test_accuracy: float
    skipped: int
    seconds: float


class Bench:
    """Trains what is not yet in the folder."""

    def __init__(self, work: Path, plan: Plan) -> None:
        self._work, self._plan = work, plan
        self._case: Case = CASES[plan.data]  # type: ignore[index]
        self._dataset = load_data(self._case.data)
        self._training = TrainingConfig()
        work.mkdir(parents=True, exist_ok=True)
        keep_plan(work / "plan.json", plan)
        self._lines = Lines(work / "runs.jsonl", Run)

    def teacher(self) -> tuple[TrainedModel, Run]:
        """Trained once."""
        network = self._case.teacher.network(self._dataset, self._case.stem_stride)
        plain = self._training.model_copy(update={"label_smoothing": 0.0})
        run = self._alone("teacher", network, TEACHER_SEED, self._plan.teacher_epochs, plain)
        return TrainedModel.of(network, load_file(self._weights_path("teacher"))), run

    def student(self, teacher: Run) -> Network:
        """The largest that trails the teacher by enough on validation images, and trains steadily."""
        for design in self._case.students:
            network = design.network(self._dataset, self._case.stem_stride)
            runs = [
                self._alone("tried", network, seed, self._plan.epochs) for seed in CHOOSING_SEEDS
            ]
            found = [run.validation_accuracy for run in runs]
            gap = teacher.validation_accuracy - statistics.fmean(found)
            if gap >= LEAST_GAP and statistics.stdev(found) <= MOST_SPREAD:
                return network
        raise SystemExit(
            f"no student trails the teacher by {100 * LEAST_GAP:g} points and trains steadily; change --epochs"
        )

    def taught(self, method: str, student: Network, teacher: TrainedModel, seed: int) -> Run:
        """The student after training by `method`."""
        known = self._known(method, student, seed)
        if known is not None:
            return known
        start = time.perf_counter()
        views = 0 if self._plan.live else self._plan.epochs
        distilled = distil(
            student,
            teacher,
            self._dataset,
            self._plan.methods[method].model_copy(update={"views": views}),
            self._training,
            epochs=self._plan.epochs,
            seed=seed,
            cache_dir=self._work / "answers",
        )
        seconds = time.perf_counter() - start
        return self._keep(method, distilled.model, seed, distilled.skipped, seconds)

    def _alone(
        self,
        name: str,
        network: Network,
        seed: int,
        epochs: int,
        training: TrainingConfig | None = None,
    ) -> Run:
        known = self._known(name, network, seed)
        if known is not None:
            return known
        start = time.perf_counter()
        training = training or self._training
        trained = train_child(network, self._dataset, training, epochs=epochs, seed=seed)
        seconds = time.perf_counter() - start
        if name == "teacher":  # before the record, which says that it is there
            save_file(trained.weights, self._weights_path(name))
        return self._keep(name, TrainedModel.of(network, trained.weights), seed, 0, seconds)

    def _weights_path(self, name: str) -> Path:
        return self._work / f"{name}.safetensors"

    def _known(self, name: str, network: Network, seed: int) -> Run | None:
        wanted = (name, network.digest, seed)
        return next((r for r in self._lines.records if (r.name, r.digest, r.seed) == wanted), None)

    def _keep(self, name: str, model: TrainedModel, seed: int, skipped: int, seconds: float) -> Run:
        run = Run(
            name=name,
            digest=model.network.digest,
            seed=seed,
            num_params=count_params(model.network),
            macs=count_macs(model.network),
            validation_accuracy=final_accuracy(model, self._dataset.validation, self._dataset),
            test_accuracy=final_accuracy(model, self._dataset.test, self._dataset),
            skipped=skipped,
            seconds=seconds,
        )
        self._lines.add([run])
        print(
            f"{name}, seed {seed}: {run.num_params:,} parameters, validation "
            f"{100 * run.validation_accuracy:.2f} %, {seconds:.0f} s",
            flush=True,
        )
        return run


def final_accuracy(model: TrainedModel, split: Split, dataset: Dataset) -> float:
    """Share 0-1 of images that the final head gets right."""
    return float((model.logits(split, dataset)[-1].argmax(axis=1) == split.labels).mean())


def keep_plan(path: Path, plan: Plan) -> None:
    """Write the plan, or check that the one there is the same but for the methods. Ends the program where it is not."""
    if path.is_file():
        there = Plan.model_validate_json(path.read_text())
        shared = {name: there.methods.get(name, config) for name, config in plan.methods.items()}
        if there.model_copy(update={"methods": plan.methods}) != plan or shared != plan.methods:
            raise SystemExit(
                f"{path}: made with other data, epochs or settings; use another --work"
            )
        plan = plan.model_copy(update={"methods": there.methods | plan.methods})
    write_atomic(path, plan.model_dump_json(indent=1) + "\n")


def compare(bench: Bench, methods: Sequence[str], seeds: int) -> None:
    """Train everything, a seed after the other, then print the tables."""
    teacher, teacher_run = bench.teacher()
    student = bench.student(teacher_run)
    runs: dict[str, list[Run]] = {name: [] for name in methods}
    for seed in range(seeds):
        for name in methods:
            runs[name].append(bench.taught(name, student, teacher, seed))
    print(
        f"\nteacher {teacher_run.num_params:,} parameters, {teacher_run.macs / 1e6:.2f} M MACs; "
        f"student {count_params(student):,}, {count_macs(student) / 1e6:.2f} M\n"
    )
    validation = {name: [r.validation_accuracy for r in rows] for name, rows in runs.items()}
    print(report(validation, teacher_run.validation_accuracy, "Validation"), end="\n\n")
    test = {name: [r.test_accuracy for r in rows] for name, rows in runs.items()}
    print(report(test, teacher_run.test_accuracy, "Test"), end="\n\n")
    print(verdict(test, teacher_run.test_accuracy))


def chosen_methods(names: Sequence[str] | None) -> Mapping[str, DistilConfig]:
    """`alone`, and those named (all of `METHODS` for None)."""
    known = {**METHODS, **MORE_METHODS}
    wanted = METHODS if names is None else (ALONE, *names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"--methods: {unknown} are unknown; there are {', '.join(known)}")
    return {name: known[name] for name in dict.fromkeys(wanted)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for what is done")
    parser.add_argument("--data", choices=tuple(CASES), default="shapes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=24, help="of each student's training")
    parser.add_argument("--teacher-epochs", type=int, help="by default as many")
    parser.add_argument(
        "--methods", nargs="+", help="beside alone; all but the extra ones if left out"
    )
    parser.add_argument("--live", action="store_true", help="keep no answers: less disk, more time")
    args = parser.parse_args()
    torch.set_num_threads(1)
    methods = chosen_methods(args.methods)
    plan = Plan(
        data=args.data,
        epochs=args.epochs,
        teacher_epochs=args.teacher_epochs or args.epochs,
        live=args.live,
        methods=dict(methods),
    )
    compare(Bench(args.work, plan), list(methods), args.seeds)


if __name__ == "__main__":
    main()
