"""Limits on latency and energy: a network is executed in float32 where that holds them, else in INT8.

A call costs the same with 2-bit weights as with 8-bit ones, and a network is executed in one of the two as a whole
(docs/decisions/0006). So there is one step down and no more; bits of weights are lowered for size alone (`bit_wall`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from child_models import Dataset
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.errors import BudgetUnreachable
from compress.quantisation.starting_point import starting_point
from compress.trained_model import TrainedModel

Execution = Literal["int8", "float32"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionCost:
    """What a call with one image costs, no exit taken; None where it has no limit."""

    execution: Execution
    latency_ms: float | None
    energy_mj: float | None

    def holds(self, config: QuantiseConfig) -> bool:
        """Whether both limits are held."""
        return all(
            limit is None or (cost is not None and cost <= limit)
            for cost, limit in (
                (self.latency_ms, config.max_latency_ms),
                (self.energy_mj, config.max_energy_mj),
            )
        )


class CallCosts(Protocol):
    """What calls with one image cost, no exit taken: a number a model, in order. Quantised models run as they can."""

    def latencies_ms(self, models: Sequence[TrainedModel]) -> list[float]:
        """In milliseconds."""

    def energies_mj(self, models: Sequence[TrainedModel]) -> list[float]:
        """In millijoules."""


def within_limits(
    model: TrainedModel,
    dataset: Dataset,
    config: QuantiseConfig,
    costs: CallCosts | None,
    *,
    seed: int,
) -> tuple[QuantiseConfig, tuple[ExecutionCost, ...]]:
    """`config` with the execution that holds its limits on latency and energy, and what both executions cost.

    Float32 where it holds them: maps are not rounded then. Else INT8: weights have 8 bits at most.

    Args:
        model: in float32.
        costs: measured on this device if None.
        seed: of calibration images.

    Raises:
        BudgetUnreachable: neither holds them; the message has both executions' costs.
    """
    if costs is None:
        from compress.execution_costs import MeasuredCosts
        from latency_models import Device

        costs = MeasuredCosts(Device.here())
    without: dict[str, Any] = {"max_latency_ms": None, "max_energy_mj": None}
    eight = config.model_copy(update={**without, "weight_bits": 8, "max_size_bytes": None})
    int8 = starting_point(model, dataset, eight, seed=seed).rounded(model)
    found = _costs_of([model, int8], config, costs)
    for cost in found:
        if cost.holds(config):
            own = (
                {"scope": "weights"}
                if cost.execution == "float32"
                else {"weight_bits": config.plan.at_most(8)}
            )
            return config.model_copy(update={**without, **own}), found
    limits = _text(config.max_latency_ms, config.max_energy_mj)
    each = ", ".join(f"{c.execution} takes {_text(c.latency_ms, c.energy_mj)}" for c in found)
    raise BudgetUnreachable(
        f"expected at most {limits} a call, but {each}; raise the limit, or prune first: fewer bits than 8 save nothing there"
    )


def _costs_of(
    models: Sequence[TrainedModel], config: QuantiseConfig, costs: CallCosts
) -> tuple[ExecutionCost, ...]:
    nothing: list[None] = [None] * len(models)
    latencies = nothing if config.max_latency_ms is None else costs.latencies_ms(models)
    energies = nothing if config.max_energy_mj is None else costs.energies_mj(models)
    executions: tuple[Execution, ...] = ("float32", "int8")
    return tuple(
        ExecutionCost(execution=execution, latency_ms=latency, energy_mj=energy)
        for execution, latency, energy in zip(executions, latencies, energies, strict=True)
    )


def _text(latency_ms: float | None, energy_mj: float | None) -> str:
    parts = [] if latency_ms is None else [f"{latency_ms:.4g} ms"]
    return " and ".join([*parts, *([] if energy_mj is None else [f"{energy_mj:.4g} mJ"])])
