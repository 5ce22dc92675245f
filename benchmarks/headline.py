"""A found network against MobileNetV3-like ones with as many parameters: latency and accuracy.

    python benchmarks/headline.py --work DIR --size 32 --seeds 5                 # five searches
    python benchmarks/headline.py --work DIR --size 96 --seeds 5 --searches 1    # one search, five trainings

For each seed: a search (`netlathe search`); for each peer one network of the front, by a rule, and the peer scaled to
its parameters; all trained alike and tested once, then timed side by side. What is done is kept in --work and not done
again, so a stopped call goes on where it was. `docs/headline.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from headline_choice import Candidate, Named, choose, equal_peer
from headline_records import (
    FOUND,
    Chosen,
    Lines,
    Pair,
    Plan,
    SeedRecord,
    Trained,
    keep_plan,
)
from headline_report import print_report
from headline_timing import Contest, time_contests
from headline_training import Trainer
from mobilenet import peers
from numpy.typing import NDArray
from PIL import Image
from strategies import search

from child_models import ShapesConfig, TrainingConfig, load_data
from evaluation import RayEvaluator, TrainingEvaluator
from latency_models import Device
from service.config_file import apply_overrides, read_mapping, validate
from service.data_and_space import load_dataset, make_space
from service.output import talk
from service.run_config import RunConfig

HERE = Path(__file__).parent
DRAWN = 32
"""Height and width at which shapes are drawn."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    source = options.search_config or HERE / f"headline-{options.size}.yaml"
    overrides = list(options.overrides)
    if options.size != DRAWN:
        overrides.append(f"data.path={upscaled_shapes(work, options.size).resolve()}")
    config = validate(RunConfig, apply_overrides(read_mapping(source), overrides), str(source))
    peer_config = apply_overrides(config.model_dump(mode="json"), options.peer_overrides)
    peer_training = validate(RunConfig, peer_config, "--peer-set").training
    plan = Plan(
        size=options.size,
        searches=options.searches,
        config=config.model_dump(mode="json"),
        peer_training=peer_training.model_dump(mode="json"),
    )
    keep_plan(work / "plan.json", plan)
    job = Headline(work, source, overrides, config, peer_training, options.searches)
    for seed in range(options.seeds):
        job.finish(seed)
    print_report([r for r in job.seeds.records if r.seed < options.seeds], options.size)
    return 0


class Headline:
    """The work of one folder."""

    def __init__(
        self,
        work: Path,
        source: Path,
        overrides: list[str],
        config: RunConfig,
        peer_training: TrainingConfig,
        searches: int | None,
    ) -> None:
        self._work, self._source, self._overrides = work, source, overrides
        self._config, self._searches = config, searches
        self._peer_training = peer_training
        self._dataset = load_dataset(config)
        self._space = make_space(config, self._dataset)
        self._peers = peers(self._dataset.input_shape.height)
        self._device = Device.here(config.device)
        self._choices = Lines(work / "choices.jsonl", Chosen)
        self._trainings = Lines(work / "trainings.jsonl", Trained)
        self.seeds = Lines(work / "seeds.jsonl", SeedRecord)

    def finish(self, seed: int) -> None:
        """Do what is left of one seed."""
        if any(record.seed == seed for record in self.seeds.records):
            return
        number = seed % self._searches if self._searches else seed
        talk.print(f"seed {seed}: search {number}")
        front = self._front(number)
        chosen = self._chosen(number, front)
        found = [next(c.network for c in front if c.network.digest == x.digest) for x in chosen]
        others = [
            equal_peer(peer, network) for peer, network in zip(self._peers, found, strict=True)
        ]
        talk.print(f"seed {seed}: full schedule")
        own = self._train([(FOUND, network) for network in found], self._config.training, seed)
        theirs = self._train(others, self._peer_training, seed)
        talk.print(f"seed {seed}: latencies")
        contests = [
            Contest(found=network, exit_shares=figures.exit_shares, peer=other)
            for network, figures, (_, other) in zip(found, own, others, strict=True)
        ]
        timed = time_contests(contests, self._device)
        pairs = tuple(
            Pair(found=a, peer=b, passed=choice.passed, timed=times)
            for a, b, choice, times in zip(own, theirs, chosen, timed, strict=True)
        )
        self.seeds.add([SeedRecord(seed=seed, search=number, pairs=pairs)])

    def _chosen(self, number: int, front: Sequence[Candidate]) -> list[Chosen]:
        """One a peer. Kept, since timing again could choose others."""
        chosen = [c for c in self._choices.records if c.search == number]
        if chosen:
            return chosen
        talk.print(f"search {number}: {len(front)} networks of the front beside their peers")
        contests = [
            Contest(
                found=candidate.network,
                exit_shares=(0.0,) * len(candidate.network.exits) + (1.0,),
                peer=equal_peer(peer, candidate.network)[1],
            )
            for peer in self._peers
            for candidate in front
        ]
        ratios = [timed.ratio for timed in time_contests(contests, self._device, sessions=5)]
        for i, peer in enumerate(self._peers):
            own = ratios[i * len(front) : (i + 1) * len(front)]
            chosen.append(choose(front, peer, own, search=number))
        self._choices.add(chosen)
        return chosen

    def _train(
        self, networks: Sequence[Named], training: TrainingConfig, seed: int
    ) -> list[Trained]:
        config = self._config
        make = TrainingEvaluator if config.evaluator.kind == "local" else RayEvaluator
        with make(self._dataset, training, config.evaluator) as evaluator:
            train = Trainer(evaluator, training.seed, config.schedule.final, self._trainings)
            return train(networks, seed)

    def _front(self, number: int) -> list[Candidate]:
        """Networks of the front of search `number` that reach its accuracy floor; all, where none does."""
        run = self._work / f"search-{number}"
        # all searches see the same predicted costs
        device = self._work / "search-0" / "device.json"
        search(self._source, run, number, device, self._overrides)
        front = pd.read_csv(run / "pareto.csv")
        good = front[front["accuracy"] >= getattr(self._config.objective, "accuracy_floor", 0.0)]
        columns = (good if len(good) else front)[["choices", "accuracy_no_exit"]]
        return [
            Candidate(network=self._space.resolve(json.loads(choices)), accuracy=accuracy)
            for choices, accuracy in columns.itertuples(index=False)
        ]


def upscaled_shapes(work: Path, size: int, shapes: ShapesConfig | None = None) -> Path:
    """Shapes (the default ones), drawn at 32×32 and scaled to `size`×`size` (bilinear), as an archive in `work`."""
    path = work / f"shapes-{size}.npz"
    if path.is_file():
        return path
    drawn = load_data(shapes or ShapesConfig())
    arrays: dict[str, NDArray[np.generic]] = {"class_names": np.array(drawn.class_names)}
    for name, split in (("train", drawn.train), ("val", drawn.validation), ("test", drawn.test)):
        arrays[f"x_{name}"] = np.stack([_scaled(image, size) for image in split.images])
        arrays[f"y_{name}"] = split.labels
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, **arrays)
    return unfinished.rename(path)


def _scaled(image: NDArray[np.generic], size: int) -> NDArray[np.uint8]:
    """(3, height, width) → (size, size, 3)."""
    picture = Image.fromarray(np.asarray(image, np.uint8).transpose(1, 2, 0))
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of all that is done")
    parser.add_argument("--size", type=int, choices=[32, 96], default=32, help="pixels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--searches", type=int, help="seed k trains what search k mod this found; default: a seed"
    )
    parser.add_argument("--search-config", type=Path, help="default: headline-SIZE.yaml here")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument(
        "--peer-set",
        action="append",
        default=[],
        dest="peer_overrides",
        help="training.KEY=VALUE for the peers alone; default: trained as the found networks are",
    )
    options = parser.parse_args(arguments)
    if any(not override.startswith("training.") for override in options.peer_overrides):
        parser.error("--peer-set expects training.KEY=VALUE")
    if options.seeds < 1 or (options.searches is not None and options.searches < 1):
        parser.error("--seeds and --searches must be at least 1")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
