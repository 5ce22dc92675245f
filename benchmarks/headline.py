"""A found network against MobileNetV3-like ones with as many parameters: latency and accuracy.

    python benchmarks/headline.py --work DIR --size 32 --seeds 5                 # five searches
    python benchmarks/headline.py --work DIR --size 96 --seeds 5 --searches 1    # one search, five trainings

For each seed: a search (`netlathe search`), one of its picks by a rule on validation data, peers scaled to the pick's
parameters, all trained alike and tested once, then timed side by side. What is done is kept in --work and not done
again, so a stopped call goes on where it was. `docs/headline.md` says what the figures mean.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from headline_choice import Candidate, Choice, Trainer, choose
from headline_records import FOUND, Lines, Plan, SeedRecord, Trained, keep_plan
from headline_report import print_report
from headline_timing import time_beside
from numpy.typing import NDArray
from PIL import Image
from strategies import NETLATHE, search

from archspace import ArchitectureDocument
from child_models import Dataset, ShapesConfig, load_data
from latency_models import Device
from search import read_summary
from service.config_file import apply_overrides, read_mapping, validate
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
    plan = Plan(size=options.size, searches=options.searches, config=config.model_dump(mode="json"))
    keep_plan(work / "plan.json", plan)
    job = Headline(work, source, overrides, config, options.searches)
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
        searches: int | None,
    ) -> None:
        assert config.data is not None
        self._work, self._source, self._overrides = work, source, overrides
        self._config, self._searches = config, searches
        self._dataset: Dataset = load_data(config.data)
        lines = Lines(work / "trainings.jsonl", Trained)
        self._train = Trainer(self._dataset, config.training, config.schedule.final, lines)
        self.seeds = Lines(work / "seeds.jsonl", SeedRecord)

    def finish(self, seed: int) -> None:
        """Do what is left of one seed."""
        if any(record.seed == seed for record in self.seeds.records):
            return
        number = seed % self._searches if self._searches else seed
        talk.print(f"seed {seed}: search {number}")
        choice = self._choice(number)
        found = choice.candidate.network
        talk.print(f"seed {seed}: {choice.candidate.pick} and its peers at the full schedule")
        networks = self._train([(FOUND, found), *choice.peers], seed)
        talk.print(f"seed {seed}: latencies")
        device = Device.here(self._config.device)
        timings = time_beside(found, networks[0].exit_shares, choice.peers, device)
        self.seeds.add(
            [
                SeedRecord(
                    seed=seed,
                    search=number,
                    pick=choice.candidate.pick,
                    passed=choice.passed,
                    networks=tuple(networks),
                    timed=timings.timed,
                    exit_latency_ms=timings.exit_latency_ms,
                )
            ]
        )

    def _choice(self, number: int) -> Choice:
        """The pick of search `number`, by the trainings of its first seed."""
        run = self._work / f"search-{number}"
        device = (
            self._work / "search-0" / "device.json"
        )  # all searches see the same predicted costs
        search(self._source, run, number, device, self._overrides)
        return choose(
            candidates(run),
            self._train,
            seed=number,
            num_validation=len(self._dataset.validation),
        )


def candidates(run: Path) -> list[Candidate]:
    """The distinct picks of a finished search, as it exports them."""
    found: dict[str, Candidate] = {}
    for pick in read_summary(run).picks:
        if pick.digest in found:
            continue
        folder = run / "best" if pick.pick == "best" else run / f"pick-{pick.pick}"
        if not folder.is_dir():
            export = [*NETLATHE, "export", str(run), "--pick", pick.pick, "--to", str(folder)]
            subprocess.run(export, check=True)
        assert pick.latency_worst_measured is not None, "the search was for this machine"
        found[pick.digest] = Candidate(
            pick=pick.pick,
            network=ArchitectureDocument.load(folder / "architecture.json").network,
            latency_ms=pick.latency_worst_measured.value,
        )
    if not found:
        raise SystemExit(f"{run}: no network ended the full schedule; look at its report")
    return list(found.values())


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
    options = parser.parse_args(arguments)
    if options.seeds < 1 or (options.searches is not None and options.searches < 1):
        parser.error("--seeds and --searches must be at least 1")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
