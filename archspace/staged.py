"""The project's own search space: stages of layers, each with an operation, a skip connection and a width."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archspace.builder import LayerBuilder
from archspace.chain import chain_blocks
from archspace.decision_graph import DecisionGraph, Step
from archspace.network import INPUT, INT8_BITS, Block, Network, Shape
from archspace.operations import append_operation, parse_operation
from archspace.space import (
    Architecture,
    BlockCost,
    Decision,
    SearchSpace,
    SpaceError,
    SpaceSize,
)
from archspace.staged_config import StagedSpaceConfig


class _State(NamedTuple):
    """What is known before a decision. `op`, `skip` and `bits` are those of the layer being decided."""

    channels: int
    exited: bool  # the current map already has an exit
    int8: bool
    op: int = 0
    skip: bool = False
    bits: int = 32


class _Slot(NamedTuple):
    """One decision, and the layer that it belongs to."""

    aspect: Literal["execution", "op", "skip", "bits", "keep", "exit"]
    out_channels: tuple[int, ...]  # by keep ratio
    stride: int
    height: int  # of the map that the layer (or the exit) reads
    width: int


class StagedSpace(SearchSpace):
    """Decisions of each layer, in order, then the exit of its stage.

    | decision | choices | one valid choice only |
    |---|---|---|
    | ``execution`` | float32, int8 (only where `bits` has 32 and others) | |
    | ``stage{i}.layer{j}.op`` | the config's operations | identity needs stride 1, zero needs skip connections |
    | ``stage{i}.layer{j}.skip`` | False, True | identity: False; zero: True |
    | ``stage{i}.layer{j}.bits`` | the config's bits (only where several run in INT8) | float32: 32; identity: the first that fits |
    | ``stage{i}.layer{j}.keep`` | the config's keep ratios | identity: the last one |
    | ``stage{i}.exit`` | False, True | False where the stage built nothing after the last exit |

    An identity keeps the channels that come in; every other layer gives its stage's channels × keep ratio,
    rounded to `channel_multiple`. Layers that do nothing are not built, and an exit that would read the map
    of the final head *is* the final head. `Architecture.digest` is that of the network built.

    A network that runs in INT8 does so as a whole: its stem and heads have weights of 8 bits, its layers those decided. Maps have 8.
    """

    kind: ClassVar[str] = "staged"

    def __init__(self, config: StagedSpaceConfig, *, input_shape: Shape, num_classes: int) -> None:
        self.config = config
        self.input_shape = Shape(*input_shape)
        self.num_classes = num_classes
        if num_classes < 2:
            raise SpaceError(f"expected at least 2 classes, got {num_classes}")
        self._operations = tuple(parse_operation(name) for name in config.operations)
        self._block_cache: dict[Hashable, Block | None] = {}
        named_slots = self._slots()
        self._slot_list = [slot for _, slot in named_slots]
        self.decisions = tuple(Decision(name, self._choices_of(slot)) for name, slot in named_slots)
        self._graph = DecisionGraph(
            [decision.name for decision in self.decisions],
            start=_State(config.stem_channels, exited=False, int8=32 not in config.bits),
            opening=None if self._decides_execution else self._stem(32 not in config.bits),
            expand=self._expand,
            ending=self._ending,
        )
        self._size: SpaceSize | None = None

    @property
    def _decides_execution(self) -> bool:
        return 32 in self.config.bits and len(self.config.bits) > 1

    def _slots(self) -> list[tuple[str, _Slot]]:
        config = self.config
        height, width = self._halved("the stem", *self.input_shape[1:], config.stem_stride)
        slots: list[tuple[str, _Slot]] = []
        if self._decides_execution:
            slots.append(("execution", _Slot("execution", (), 1, height, width)))
        for i, stage in enumerate(config.stages, 1):
            out = config.physical_channels(stage)
            for j in range(stage.layers):
                stride = stage.stride if j == 0 else 1
                name = f"stage{i}.layer{j}"
                slots.append((f"{name}.op", _Slot("op", out, stride, height, width)))
                if config.skip_connections:
                    slots.append((f"{name}.skip", _Slot("skip", out, stride, height, width)))
                if len(config.integer_bits) > 1:
                    slots.append((f"{name}.bits", _Slot("bits", out, stride, height, width)))
                slots.append((f"{name}.keep", _Slot("keep", out, stride, height, width)))
                height, width = self._halved(f"stage {i}", height, width, stride)
            if config.early_exits and i < len(config.stages):
                slots.append((f"stage{i}.exit", _Slot("exit", out, 1, height, width)))
        self._last_pixels = (height, width)
        return slots

    def _halved(self, place: str, height: int, width: int, stride: int) -> tuple[int, int]:
        if min(height, width, self.input_shape.channels) < 1:
            raise SpaceError(f"input shape {tuple(self.input_shape)}: every number must be ≥ 1")
        if stride > 1 and min(height, width) < 2:
            raise SpaceError(
                f"{place} has stride {stride}, but only {height}×{width} pixels of the "
                f"{self.input_shape.height}×{self.input_shape.width} image are left there: "
                "use stride 1 in one of the stages"
            )
        return -(-height // stride), -(-width // stride)

    def _choices_of(self, slot: _Slot) -> tuple[str | float | bool, ...]:
        match slot.aspect:
            case "execution":
                return ("float32", "int8")
            case "op":
                return self.config.operations
            case "bits":
                return self.config.bits
            case "keep":
                return self.config.keep_ratios
            case "skip" | "exit":
                return (False, True)

    def _expand(self, position: int, state: Hashable) -> Sequence[Step | None]:
        assert isinstance(state, _State)
        slot = self._slot_list[position]
        match slot.aspect:
            case "execution":
                return [Step(state._replace(int8=int8), self._stem(int8)) for int8 in (False, True)]
            case "op":
                return [self._op_step(op, slot, state) for op in range(len(self._operations))]
            case "skip":
                kind = self._operations[state.op].kind
                off = Step(state._replace(skip=False)) if kind != "zero" else None
                on = Step(state._replace(skip=True)) if kind != "identity" else None
                return [off, on]
            case "bits":
                return self._bits_steps(state)
            case "keep":
                return self._keep_steps(slot, state)
            case "exit":
                head = self._head(state, slot.height, slot.width)
                leave = Step(state._replace(exited=True), head)
                return [Step(state), None if state.exited else leave]

    def _op_step(self, op: int, slot: _Slot, state: _State) -> Step | None:
        kind = self._operations[op].kind
        if kind == "identity" and slot.stride > 1:
            return None
        if kind == "zero" and not self.config.skip_connections:
            return None
        return Step(state._replace(op=op))

    def _bits_steps(self, state: _State) -> list[Step | None]:
        fits = [(bits <= INT8_BITS) == state.int8 for bits in self.config.bits]
        if self._operations[state.op].kind == "identity":
            fits = [i == fits.index(True) for i in range(len(fits))]
            return [Step(state) if fit else None for fit in fits]
        choices = zip(self.config.bits, fits, strict=True)
        return [Step(state._replace(bits=bits)) if fit else None for bits, fit in choices]

    def _keep_steps(self, slot: _Slot, state: _State) -> list[Step | None]:
        steps: list[Step | None] = []
        done = _State(state.channels, state.exited, state.int8)
        for channels in slot.out_channels:
            block = self._layer_block(slot, state, channels)
            built = _State(channels, exited=False, int8=state.int8)
            steps.append(Step(built, block) if block else Step(done))
        if self._operations[state.op].kind == "identity":
            steps[:-1] = [None] * (len(steps) - 1)
        return steps

    def _layer_block(self, slot: _Slot, state: _State, channels: int) -> Block | None:
        shape = Shape(state.channels, slot.height, slot.width)
        bits = self._layer_bits(state)
        key = (shape, state.op, state.skip, channels, slot.stride, bits)
        if key not in self._block_cache:
            operation = self._operations[state.op]
            builder = LayerBuilder(state.channels, operation.name)
            append_operation(
                builder,
                operation,
                INPUT,
                channels=channels,
                stride=slot.stride,
                skip=state.skip,
                group_width=self.config.group_width,
            )
            self._block_cache[key] = _block(builder, shape, bits) if builder.layers else None
        return self._block_cache[key]

    def _layer_bits(self, state: _State) -> int:
        integers = self.config.integer_bits
        if not state.int8:
            return 32
        return integers[0] if len(integers) == 1 else state.bits

    def _stem(self, int8: bool) -> Block:
        builder = LayerBuilder(self.input_shape.channels, "stem")
        stride = self.config.stem_stride
        builder.conv(INPUT, self.config.stem_channels, kernel=3, stride=stride, activation="relu")
        return _block(builder, self.input_shape, INT8_BITS if int8 else 32)

    def _head(self, state: _State, height: int, width: int) -> Block:
        builder = LayerBuilder(state.channels, "head")
        builder.classifier(INPUT, self.num_classes)
        shape = Shape(state.channels, height, width)
        return _block(builder, shape, INT8_BITS if state.int8 else 32)

    def _ending(self, state: Hashable) -> Block | None:
        assert isinstance(state, _State)
        # an exit on the last map computes what the head would: it becomes the head
        return None if state.exited else self._head(state, *self._last_pixels)

    @cached_property
    def digest(self) -> str:
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def mask(self, prefix: Sequence[int]) -> NDArray[np.bool_]:
        return np.array(self._graph.valid(prefix), dtype=np.bool_)

    def masks(self, prefixes: NDArray[np.integer]) -> NDArray[np.bool_]:
        valid = self._graph.valid_many(prefixes)
        return valid[:, : len(self.decisions[prefixes.shape[1]].choices)]

    def resolve(self, choices: Sequence[int]) -> Network:
        blocks = self._graph.word(choices)
        return chain_blocks(blocks, input_shape=self.input_shape, num_classes=self.num_classes)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        checked = self.check(choices)
        digest = self.resolve(checked).digest
        return Architecture(self.digest, checked, digest, label=digest)

    def size(self) -> SpaceSize:
        """Both numbers are exact: see `DecisionGraph.count_words`."""
        if self._size is None:
            distinct = self._graph.count_words()
            self._size = SpaceSize(self._graph.count_walks(), distinct, distinct)
        return self._size

    def minimum_cost(self, prefix: Sequence[int], block_cost: BlockCost) -> float:
        return self._graph.minimum_cost(prefix, block_cost)

    def minimum_costs(
        self, prefixes: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        return self._graph.minimum_costs(prefixes, block_cost)

    def total_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        return self._graph.total_costs(choices, block_cost)

    def head_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        return self._graph.head_costs(choices, block_cost)

    def block_usage(
        self, choices: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], tuple[Block, ...]]:
        return self._graph.block_usage(choices), tuple(self._graph.blocks)

    def to_dict(self) -> dict[str, Any]:
        config = self.config.model_dump(mode="json")
        if self.config.bits == (32,):
            del config["bits"]  # spaces keep the digest that they had before there were bits
        return {
            "kind": self.kind,
            "config": config,
            "input_shape": self.input_shape._asdict(),
            "num_classes": self.num_classes,
        }


def _block(builder: LayerBuilder, shape: Shape, bits: int) -> Block:
    layers = tuple(builder.layers)
    return Block(name=builder.block, layers=layers, input_shape=shape).with_bits(bits)
