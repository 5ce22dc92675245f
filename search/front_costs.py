"""What the networks of the front cost: measured on the device, each once, or predicted where it is not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evaluation import Evaluation
from latency_models import Cost, DeviceFile, PrefixCosts, prefix_networks
from search.parts import Phase, RunParts


def measure_front(parts: RunParts, front: Sequence[Evaluation]) -> dict[str, PrefixCosts]:
    """Measured costs of each network of the front, by digest, up to each of its heads.

    Predicted ones where the device file was imported: its device is not here.
    """
    assert parts.device_file is not None
    if parts.device_file.imported:
        return _predict(parts.device_file, parts, front)
    known: dict[str, PrefixCosts] = {}
    missing: list[Evaluation] = []
    for evaluation in front:
        digest = evaluation.architecture.digest
        record = parts.ledger.get_record(_measured_name(digest))
        if record is None:
            missing.append(evaluation)
        else:
            known[digest] = _costs_from_record(record)
    if missing:
        parts.on_phase(Phase("measure", f"{len(missing)} networks of the front on the device"))
        known |= _measure(parts.device_file, parts, missing)
    return known


def _predict(
    device_file: DeviceFile, parts: RunParts, evaluations: Sequence[Evaluation]
) -> dict[str, PrefixCosts]:
    networks = [parts.resolve(e.architecture.choices) for e in evaluations]
    digests = [e.architecture.digest for e in evaluations]
    return dict(zip(digests, device_file.cost_model().predict(networks), strict=True))


def _measure(
    device_file: DeviceFile, parts: RunParts, evaluations: Sequence[Evaluation]
) -> dict[str, PrefixCosts]:
    networks = {
        e.architecture.digest: prefix_networks(parts.resolve(e.architecture.choices))
        for e in evaluations
    }
    flat = [network for prefixes in networks.values() for network in prefixes]
    measurements = iter(device_file.measure(flat))
    result = {}
    for digest, prefixes in networks.items():
        own = [next(measurements) for _ in prefixes]
        costs = PrefixCosts(
            latency_ms=tuple(m.latency for m in own),
            energy_mj=device_file.energy(prefixes, own),
        )
        parts.ledger.put_record(_measured_name(digest), _costs_to_record(costs))
        result[digest] = costs
    return result


def within_limits(parts: RunParts, costs: PrefixCosts) -> bool:
    """Whether the network holds the latency and energy limits at these costs, no exit taken."""
    worst_ms, worst_mj = costs.latency_ms[-1].value, costs.energy_mj[-1].value
    limits = parts.limits
    return (limits.latency_ms is None or worst_ms <= limits.latency_ms) and (
        limits.energy_mj is None or worst_mj <= limits.energy_mj
    )


def _measured_name(digest: str) -> str:
    return f"measured/{digest}"


def _costs_to_record(costs: PrefixCosts) -> dict[str, Any]:
    return {key: [asdict(cost) for cost in values] for key, values in costs._asdict().items()}


def _costs_from_record(record: Mapping[str, Any]) -> PrefixCosts:
    return PrefixCosts(**{key: tuple(Cost(**c) for c in values) for key, values in record.items()})
