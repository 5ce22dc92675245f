"""Results and costs as JSON text, and back. Numbers survive exactly; NaN and infinity are refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from evaluation.results import ChildResult, FailureReason, Fidelity, NetworkCosts
from latency_models import Cost


def dump(value: Any) -> str:
    """Compact JSON. Raises ValueError on NaN or infinity."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def result_to_json(result: ChildResult) -> str:
    """A child's outcome as JSON."""
    return dump(asdict(result))


def result_from_json(text: str) -> ChildResult:
    """Inverse of `result_to_json`."""
    data = json.loads(text)
    if data["failure"] is not None:
        data["failure"] = FailureReason(data["failure"])
    for name in ("exit_thresholds", "exit_shares"):
        data[name] = tuple(data[name])
    return ChildResult(**data)


def costs_to_json(costs: NetworkCosts) -> str:
    """Costs as JSON."""
    return dump(asdict(costs))


def costs_from_json(text: str) -> NetworkCosts:
    """Inverse of `costs_to_json`."""
    data: dict[str, Any] = json.loads(text)
    for name, value in data.items():
        if isinstance(value, dict):
            data[name] = Cost(**value)
    data.setdefault("size_bytes", 4 * data["num_params"])  # of ledgers from before there were bits
    return NetworkCosts(**data)


def fidelity_to_json(fidelity: Fidelity) -> str:
    """A fidelity as JSON."""
    return dump(asdict(fidelity))


def fidelity_from_json(text: str) -> Fidelity:
    """Inverse of `fidelity_to_json`."""
    return Fidelity(**json.loads(text))
