"""Training one set of weights for all networks of a space, a few networks a step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn
from torch.func import functional_call

from archspace import Block, Choices, Network, SearchSpace, write_atomic
from child_models.array_digest import array_digest
from child_models.batches import Batch, TrainingBatches
from child_models.datasets.base import Dataset
from child_models.fitting import NonFiniteTraining, learning_rate_factor, make_optimizer
from child_models.module import ChildModule
from child_models.supernet.config import SupernetConfig
from child_models.supernet.shared_weights import SharedWeights
from child_models.training import heads_loss, keep_gradients_channels_last
from child_models.training_config import TrainingConfig

_FORMAT = 1
"""Grows when equal settings would give other weights."""
_WEIGHTS = "weights"


def train_supernet(
    space: SearchSpace,
    dataset: Dataset,
    training: TrainingConfig,
    config: SupernetConfig,
    *,
    state: Path | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> SharedWeights:
    """Train weights shared by all networks of `space` on the training split.

    Each step trains `config.paths` random networks on one batch, as single paths drawn uniformly (Guo et al. 2020, section
    3.2), with `config.sandwich` also a random one with all its layers at their widest and at their narrowest (Yu & Huang 2019,
    section 3.2). BatchNorm uses the batch's own statistics; a network that inherits measures its own (`inherit`).

    Equal arguments give equal weights, on one machine with one number of threads; an interrupted training that goes on from
    `state` gives those, too.

    Args:
        training: optimiser, rates, loss, augmentation; its seed is that of everything random here.
        state: file that holds the training after each epoch, and afterwards the result; it is gone on with where it is there.
        on_epoch: called with (epochs done, mean loss).

    Raises:
        NonFiniteTraining: a loss became NaN or infinite.
        ValueError: `state` is of another training, or damaged.
    """
    run = _Training(space, dataset, training, config)
    done = run.restore(state) if state is not None and state.is_file() else 0
    for epoch in range(done, config.epochs):
        loss = run.epoch(epoch)
        if state is not None:
            run.keep(state, epoch + 1)
        if on_epoch is not None:
            on_epoch(epoch + 1, loss)
    return run.weights


class _Training:
    """The loop's state: weights and optimiser. What is random is decided by seed and epoch alone."""

    def __init__(
        self,
        space: SearchSpace,
        dataset: Dataset,
        training: TrainingConfig,
        config: SupernetConfig,
    ) -> None:
        self._space, self._dataset = space, dataset
        self._training, self._config = training, config
        self.weights = SharedWeights(blocks_of(space), training.seed)
        self._optimizer = make_optimizer([], training)

    @property
    def _key(self) -> str:
        """What the training is of, as text."""
        settings = self._training.model_dump_json()
        parts = (_FORMAT, self._space.digest, self._dataset.digest, settings)
        return "/".join([*map(str, parts), self._config.model_dump_json()])

    def epoch(self, number: int) -> float:
        """Train for one epoch; the mean loss of a network."""
        config = self._training
        batches = TrainingBatches.of(self._dataset, config, _seed_of(config.seed, number))
        rng = np.random.default_rng([config.seed, 4, number])
        total = self._config.epochs * batches.steps
        losses = 0.0
        for step, batch in enumerate(batches.epoch(), number * batches.steps):
            factor = learning_rate_factor(step, total, config.warmup)
            for group in self._optimizer.param_groups:
                group["lr"] = config.learning_rate * factor
            self._optimizer.zero_grad(set_to_none=True)
            losses += self._backward(self._paths(rng), batch)
            self._follow_new()
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(list(self.weights.tensors.values()), config.clip_norm)
            self._optimizer.step()
        return losses / batches.steps

    def _paths(self, rng: np.random.Generator) -> list[Network]:
        space = self._space
        drawn = [space.sample(rng) for _ in range(self._config.paths)]
        if self._config.sandwich:
            base = space.sample(rng)
            drawn += [at_width(space, base, widest=widest) for widest in (True, False)]
        return [space.resolve(choices) for choices in drawn]

    def _backward(self, networks: Sequence[Network], batch: Batch) -> float:
        """Add up the gradients of the networks' mean loss; that loss."""
        total = 0.0
        for network in networks:
            heads = run_shared(network, self.weights.of(network), batch.images)
            loss = heads_loss(heads, batch.labels, self._training)
            number = loss.item()
            if not np.isfinite(number):
                raise NonFiniteTraining(f"the supernet's loss became {number}")
            (loss / len(networks)).backward()  # type: ignore[no-untyped-call]
            total += number / len(networks)
        return total

    def _follow_new(self) -> None:
        """The optimiser moves all that exists by now: weights come when a network first asks for them."""
        kernels, vectors = (group["params"] for group in self._optimizer.param_groups)
        for tensor in list(self.weights.tensors.values())[len(kernels) + len(vectors) :]:
            (kernels if tensor.ndim > 1 else vectors).append(tensor)

    def keep(self, file: Path, epochs: int) -> None:
        """Write all of it, whole or not at all."""
        arrays = {f"{_WEIGHTS}/{name}": array for name, array in self.weights.arrays().items()}
        for name, tensor in self.weights.tensors.items():
            for part, value in self._optimizer.state.get(tensor, {}).items():
                arrays[f"{part}/{name}"] = value.detach().contiguous().numpy().copy()
        # the order decides in which order gradients are added up
        order = json.dumps(list(self.weights.tensors))
        metadata = {"training": self._key, "epochs": str(epochs), "order": order}
        metadata["sha256"] = array_digest(arrays)
        write_atomic(file, save(arrays, metadata=metadata))

    def restore(self, file: Path) -> int:
        """Go on from `file`; epochs done."""
        try:
            with safe_open(file, "numpy") as kept:
                metadata = kept.metadata() or {}
                arrays = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 (no mapping)
        except SafetensorError as error:
            raise ValueError(
                f"{file} cannot be read: {error}; put a copy of it back, or move it away to begin anew"
            ) from error
        if metadata.get("training") != self._key:
            raise ValueError(
                f"{file} is of another training: expected the same space, data and settings; move it away to begin anew"
            )
        if metadata.get("sha256") != array_digest(arrays):
            raise ValueError(
                f"{file} is not as it was written; put a copy of it back, or move it away to begin anew"
            )
        order: list[str] = json.loads(metadata["order"])
        self.weights.load({name: arrays[f"{_WEIGHTS}/{name}"] for name in order})
        self._follow_new()
        for key, array in arrays.items():
            part, name = key.split("/", 1)
            if part != _WEIGHTS:
                tensor = self.weights.tensors[name]
                value = torch.from_numpy(array)
                if (
                    value.ndim
                ):  # the fused optimiser goes through memory: laid out as what it belongs to
                    value = torch.empty_like(tensor.detach()).copy_(value)
                self._optimizer.state.setdefault(tensor, {})[part] = value
        return int(metadata["epochs"])


def run_shared(
    network: Network, parameters: Mapping[str, Tensor], images: Tensor
) -> tuple[Tensor, ...]:
    """What `network` with `parameters` says of `images`, as a `ChildModule` in training mode would; running statistics are not kept."""
    with torch.device("meta"):
        module = ChildModule(network)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.track_running_stats = False
            part.running_mean = part.running_var = part.num_batches_tracked = None
    keep_gradients_channels_last(module)
    heads: tuple[Tensor, ...] = functional_call(module.train(), dict(parameters), (images,))
    return heads


def blocks_of(space: SearchSpace) -> tuple[Block, ...]:
    """All that networks of `space` may be built of."""
    nothing = np.zeros((0, len(space.decisions)), dtype=np.int64)
    return space.block_usage(nothing)[1]


def at_width(space: SearchSpace, choices: Choices, *, widest: bool) -> Choices:
    """`choices` with the largest, or smallest, valid number in each decision about one (a keep ratio)."""
    taken: list[int] = []
    for decision, choice in zip(space.decisions, choices, strict=True):
        if all(isinstance(value, float) for value in decision.choices):
            valid = np.flatnonzero(space.mask(taken)).tolist()
            choice = (max if widest else min)(valid, key=lambda i: decision.choices[i])
        taken.append(choice)
    return tuple(taken)


def _seed_of(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, 5, epoch]).generate_state(1)[0])
