"""Other ways to predict a network's latency: what a profile must beat to be worth its time.

| method | learns from | what |
|---|---|---|
| ``MACs``, ``parameters`` | whole networks | a line a·x + b, a ≥ 0, least squares on relative errors |
| ``lookup`` | blocks alone | a call and the sum of the blocks: the profile's own table, nothing learnt on networks |
| ``MLP`` | whole networks | one-hot choices → log latency, two hidden layers of 64 |
| ``choice model`` | whole networks | `latency_models.fit_choice_model` |

All whole networks are measured afresh, in as much time as the profile took, so each of these sees more of them
than the profile did.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from torch import nn

from archspace import Choices, Network, SearchSpace
from child_models import count_macs, count_params
from latency_models import Device, MeasuringFailed, ProfileConfig, fit_choice_model
from latency_models.additive import AdditiveTable
from latency_models.measuring import GROUP_SIZE, Clock, measure_each
from latency_models.runners import Loader, load_runner

LEAST_TRAINED = 8
"""Measured networks below which nothing is fitted."""
POOL_SIZE = 2000
"""Unmeasured architectures that tell the choice model what is usual in the space."""
_MOST_REPEATS = 200  # drawn in a row without a new network: the space has no more
_HIDDEN = 64
_EPOCHS = 1500
_PATIENCE = 150  # epochs without a better left-out error

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """A network and the choices that it was drawn by."""

    choices: Choices
    network: Network


@dataclass(frozen=True)
class Training:
    """Whole networks, (n,) latencies in ms, and the seconds that measuring took."""

    draws: list[Draw]
    measured_ms: Floats
    seconds: float


@dataclass(frozen=True)
class Predicted:
    """(networks,) latencies in ms; standard deviations where the method has any."""

    values_ms: Floats
    stds_ms: Floats | None = None


def draw_distinct(
    space: SearchSpace, rng: np.random.Generator, avoid: frozenset[str]
) -> Iterator[Draw]:
    """Networks as `space.sample` draws them, none twice, none with a digest in `avoid`; ends where none are left."""
    seen, repeats = set(avoid), 0
    while repeats < _MOST_REPEATS:
        choices = space.sample(rng)
        network = space.resolve(choices)
        if network.digest in seen:
            repeats += 1
            continue
        seen.add(network.digest)
        repeats = 0
        yield Draw(choices, network)


def measure_training(
    draws: Iterator[Draw],
    device: Device,
    profile: ProfileConfig,
    *,
    seconds: float,
    references: Sequence[Network],
    reference_ms: float,
    seed: int,
    load: Loader = load_runner,
    clock: Clock = time.perf_counter,
) -> Training:
    """Measure drawn networks, group by group as a profile does, until `seconds` are over (drawing included).

    Args:
        draws: endless, or as many as there are.
        device, profile: where, and with how many rounds and repeats.
        seconds: no group begins later.
        references, reference_ms: those of the device file whose milliseconds are meant.
        seed: of the order within groups.
        load, clock: as in `measure_networks`.

    Raises:
        MeasuringFailed: fewer than 8 networks could be measured.
    """
    start, kept, values = clock(), [], []
    while clock() - start < seconds and (group := list(islice(draws, GROUP_SIZE))):
        results = measure_each(
            [draw.network for draw in group],
            device,
            rounds=profile.rounds,
            repeats=profile.repeats,
            references=references,
            reference_ms=reference_ms,
            seed=seed + len(values),
            load=load,
            clock=clock,
        )
        for draw, result in zip(group, results, strict=True):
            if not isinstance(result, MeasuringFailed):
                kept.append(draw)
                values.append(result.latency.value)
    if len(kept) < LEAST_TRAINED:
        raise MeasuringFailed(
            f"expected at least {LEAST_TRAINED} training networks, {len(kept)} could be measured"
        )
    return Training(kept, np.array(values), clock() - start)


@dataclass(frozen=True)
class Line:
    """latency in ms = slope · size + intercept."""

    slope: float
    intercept: float

    def __call__(self, sizes: Floats) -> Floats:
        return self.slope * sizes + self.intercept


def fit_line(sizes: Floats, measured_ms: Floats) -> Line:
    """slope ≥ 0 and intercept that minimise Σ ((slope · size + intercept − y) / y)²; (n,) each, all > 0."""
    unit = float(sizes.max())  # both columns of the same order of magnitude
    design = np.column_stack([sizes / unit, np.ones(len(sizes))]) / measured_ms[:, None]
    slope, intercept = lsq_linear(
        design, np.ones(len(sizes)), bounds=([0.0, -np.inf], [np.inf, np.inf])
    ).x
    return Line(float(slope) / unit, float(intercept))


def lookup_ms(table: AdditiveTable, networks: Sequence[Network]) -> Floats:
    """A call and the sum of the blocks, each as if it ran alone."""
    return np.array(
        [table.call_ms + sum(table.lone_ms(b)[0] for b in network.blocks) for network in networks]
    )


class Mlp:
    """One-hot choices → latency in ms; the best of some restarts on a fifth that was left out.

    Args:
        codes: (n, Σ choices) of 0 and 1; n ≥ 5.
        measured_ms: (n,), > 0.
        restarts: from other initial weights.
        seed: of the fifth and of the initial weights.
    """

    def __init__(
        self,
        codes: NDArray[np.float32],
        measured_ms: Floats,
        *,
        restarts: int = 5,
        seed: int = 0,
    ) -> None:
        logs = np.log(measured_ms)
        self._middle, self._scale = float(logs.mean()), float(logs.std()) or 1.0
        order = np.random.default_rng(seed).permutation(len(logs))
        left_out, kept = np.split(order, [len(logs) // 5])
        x = torch.from_numpy(np.asarray(codes, dtype=np.float32))
        y = torch.from_numpy(((logs - self._middle) / self._scale).astype(np.float32))[:, None]
        with _one_thread():
            fits = [
                _train_mlp(x[kept], y[kept], x[left_out], y[left_out], seed + restart)
                for restart in range(restarts)
            ]
        self.left_out_loss, self._module = min(fits, key=lambda fit: fit[0])

    @torch.no_grad()
    def __call__(self, codes: NDArray[np.float32]) -> Floats:
        logs = self._module(torch.from_numpy(np.asarray(codes, dtype=np.float32)))[:, 0]
        return np.asarray(np.exp(self._middle + self._scale * logs.double().numpy()))


@contextmanager
def _one_thread() -> Iterator[None]:
    """For matrices so small that further threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_mlp(
    x: torch.Tensor, y: torch.Tensor, x_out: torch.Tensor, y_out: torch.Tensor, seed: int
) -> tuple[float, nn.Module]:
    """(left-out loss, module) at the epoch where that loss was least."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Linear(x.shape[1], _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, 1),
        )
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1.0)
    best, best_state, best_epoch = float("inf"), module.state_dict(), 0
    for epoch in range(_EPOCHS):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            loss = float(nn.functional.mse_loss(module(x_out), y_out))
        if loss < best:
            best, best_state, best_epoch = loss, copy.deepcopy(module.state_dict()), epoch
        elif epoch - best_epoch > _PATIENCE:
            break
    module.load_state_dict(best_state)
    return best, module


def predict_by_size(training: Training, test: Sequence[Draw], *, by: str) -> Predicted:
    """A line over multiply-accumulates (`by` = "MACs") or parameters."""
    count = {"MACs": count_macs, "parameters": count_params}[by]
    line = fit_line(_floats(count(d.network) for d in training.draws), training.measured_ms)
    return Predicted(line(_floats(count(d.network) for d in test)))


def predict_by_mlp(space: SearchSpace, training: Training, test: Sequence[Draw]) -> Predicted:
    """See `Mlp`."""
    mlp = Mlp(_codes(space, training.draws), training.measured_ms)
    return Predicted(mlp(_codes(space, test)))


def predict_by_choices(
    space: SearchSpace, training: Training, test: Sequence[Draw], *, seed: int
) -> Predicted:
    """See `fit_choice_model`; `seed` draws its pool."""
    rng = np.random.default_rng(seed)
    pool = np.array([space.sample(rng) for _ in range(POOL_SIZE)])
    measured = np.array([draw.choices for draw in training.draws])
    model = fit_choice_model(space, measured, training.measured_ms, pool=pool)
    return Predicted(*model.predict_with_std(np.array([draw.choices for draw in test])))


def _codes(space: SearchSpace, draws: Sequence[Draw]) -> NDArray[np.float32]:
    return np.stack([space.encode(draw.choices) for draw in draws])


def _floats(values: Iterator[int]) -> Floats:
    return np.array(list(values), dtype=np.float64)
