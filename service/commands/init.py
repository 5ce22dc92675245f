"""`netlathe init`: look at the user's data, write a commented config, say what to expect."""

from __future__ import annotations

import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from archspace import write_atomic
from service.errors import ConflictError, NotFoundError
from service.output import print_json, print_lines, talk
from service.progress import duration

BUDGET = 64
SEARCH_EPOCHS = 8
FINAL_EPOCHS = 60
MAX_TRIAL_IMAGES = 512

TEMPLATE = """\
# Written by `netlathe init` for {path}.
# {found}
name: {name}
seed: 0

data:
  kind: {kind}
  path: {path}
{data_extra}
space:
  kind: staged
  stem_channels: 16         # channels after the first convolution
  stem_stride: {stem_stride}            # 2 halves height and width at once: faster, coarser
  stages:                   # channels before the keep ratio; stride 2 halves the map
{stages}
  operations:               # what a layer may be; also conv_k3, mbconv_k3_e3 (inverted residual), …
    [dwconv_k3, dwconv_k5, group_conv_k3, identity, zero]
  keep_ratios: [0.25, 0.5, 0.75, 1.0]
  skip_connections: true
  early_exits: true         # easy images may leave the network early

device:
  runtime: onnxruntime      # or torch; what will run the network later
  threads: 1
  batch_size: 1
profile:
  budget_s: 40              # time for measuring blocks and networks on this device

# limits:                   # nothing beyond these is exported, judged on measurement
#   latency_ms: {limit_hint}

training:
  batch_size: 64
schedule:
  search_epochs: {search_epochs}          # each child of the search
  final_epochs: {final_epochs}          # the best, knee and fastest networks at the end

objective:                  # 0.6 accuracy + 0.3 latency + 0.1 energy, each scaled to 0..1
  kind: minmax
  accuracy_floor: {floor}     # below this a network is worth nothing ({floor_why})

search:
  budget: {budget}                # new children, for the strategy and for each control
  strategy: {{name: ppo, batch_size: 8}}
  controls:
    - {{name: random}}        # shows whether searching paid
evaluator:
  kind: ray                 # `address: HOST:PORT` uses a cluster that already runs
"""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a search with the written config will take, roughly, and the least latency it can reach."""

    config: str
    images: int
    classes: int
    input_shape: tuple[int, int, int]
    child_seconds: float
    search_seconds: float
    best_latency_ms: float
    middle_latency_ms: float


def run_init(data: Path, out: Path, *, force: bool, as_json: bool) -> None:
    """Inspect, write, estimate."""
    if not data.exists():
        raise NotFoundError(f"no data at {data}")
    if out.exists() and not force:
        raise ConflictError(f"{out} already exists; --force replaces it, --out names another")
    talk.print(f"reading {data} …")
    from child_models import Dataset, inspect_path, load_data

    found = inspect_path(data)
    dataset: Dataset = load_data(found)
    write_atomic(out, _render(found.kind, data.absolute(), dataset, found.model_dump(mode="json")))
    talk.print(f"wrote {out}; timing a child and the smallest network …")
    estimate = _estimate(out)
    if as_json:
        print_json(asdict(estimate))
        return
    channels, height, width = estimate.input_shape
    print_lines(
        f"{estimate.images} images of {channels}×{height}×{width}, {estimate.classes} classes",
        f"a child of the search takes about {estimate.child_seconds:.1f} s on one core;",
        f"a search of {BUDGET} children and its control run about {duration(estimate.search_seconds)} "
        f"on {_cores()} cores, the profile and final training included",
        f"least latency to hope for on this device: {estimate.best_latency_ms:.3f} ms "
        f"(a middling network: {estimate.middle_latency_ms:.3f} ms)",
        f"next: netlathe search {out}",
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _render(kind: str, path: Path, dataset: object, settings: dict[str, object]) -> str:
    from child_models import Dataset

    assert isinstance(dataset, Dataset)
    channels, height, width = dataset.input_shape
    side = min(height, width)
    count = sum(len(split.labels) for split in (dataset.train, dataset.validation, dataset.test))
    extra = "".join(
        f"  {key}: {value}\n"
        for key, value in settings.items()
        if key not in ("kind", "path") and value is not None
    )
    stem_stride = 2 if side >= 32 else 1
    strides = (1, 2, 2) if side // stem_stride >= 8 else (1, 2)
    stages = "\n".join(
        f"    - {{channels: {width_}, layers: 2, stride: {stride}}}"
        for width_, stride in zip((24, 48, 64), strides, strict=False)
    )
    chance = 1 / dataset.num_classes
    return TEMPLATE.format(
        path=path,
        found=f"{count} images of {channels}×{height}×{width}, {dataset.num_classes} classes.",
        name=re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:40] or "search",
        kind=kind,
        data_extra=extra,
        stem_stride=stem_stride,
        stages=stages,
        limit_hint="5.0",
        search_epochs=SEARCH_EPOCHS,
        final_epochs=FINAL_EPOCHS,
        floor=f"{min(0.9, 1.5 * chance):.2f}",
        floor_why=f"chance is {chance:.2f}",
        budget=BUDGET,
    )


def _estimate(out: Path) -> Estimate:
    """Time one epoch of the middling network and measure it and the smallest one."""
    import numpy as np
    import torch

    from archspace import Block
    from child_models import count_macs, train_child
    from latency_models import Device, measure_networks
    from service.config_file import read_mapping, validate
    from service.data_and_space import load_dataset, make_space
    from service.run_config import RunConfig

    config = validate(RunConfig, read_mapping(out), str(out))
    dataset = load_dataset(config)
    space = make_space(config, dataset)

    def macs(block: Block) -> float:
        return float(count_macs(block.as_network()))

    rng = np.random.default_rng(0)
    sampled = sorted((space.resolve(space.sample(rng)) for _ in range(25)), key=count_macs)
    middle, smallest = sampled[len(sampled) // 2], space.resolve(space.cheapest(macs))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_child(middle, dataset, config.training, epochs=1, seed=0)  # warm caches
        start = time.perf_counter()
        train_child(middle, dataset, config.training, epochs=1, seed=0)
        epoch_s = time.perf_counter() - start
    finally:
        torch.set_num_threads(before)
    fast, middling = measure_networks([smallest, middle], Device.here(config.device))
    child_s = epoch_s * config.schedule.search_epochs
    children = config.search.budget * (1 + len(config.search.controls))
    finals = 3 * epoch_s * config.schedule.final_epochs
    parallel = (children * child_s + finals) / _cores()
    return Estimate(
        config=str(out),
        images=sum(len(s.labels) for s in (dataset.train, dataset.validation, dataset.test)),
        classes=dataset.num_classes,
        input_shape=dataset.input_shape,
        child_seconds=child_s,
        search_seconds=config.profile.budget_s + 20 + parallel,
        best_latency_ms=fast.latency.value,
        middle_latency_ms=middling.latency.value,
    )
