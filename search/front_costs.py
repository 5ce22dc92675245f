"""What the networks of the front cost: measured on the device, each once, or predicted where it is not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evaluation import Evaluation, LimitsConfig
from latency_models import Cost, DeviceFile, PrefixCosts, prefix_networks
from search.parts import Phase, RunParts


def measure_front(parts: RunParts, front: Sequence[Evaluation]) -> dict[str, PrefixCosts]:
    """Measured costs of each network of the front, by digest, up to each of its heads.

    Where the device is not here (imported, or fitted to a table): what was predicted in the search, no exit taken.
    """
    if parts.device_file is None or parts.device_file.imported:
        return {e.architecture.digest: _predicted(e) for e in front}
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


def _predicted(evaluation: Evaluation) -> PrefixCosts:
    """Of the last head alone."""
    costs = evaluation.costs
    assert costs is not None, "what was trained has costs"
    return PrefixCosts((costs.latency_worst_ms,), (costs.energy_worst_mj,))


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


def within_limits(limits: LimitsConfig, costs: PrefixCosts) -> bool:
    """Whether the network holds the latency and energy limits at these costs, no exit taken."""
    worst_ms, worst_mj = costs.latency_ms[-1].value, costs.energy_mj[-1].value
    return (limits.latency_ms is None or worst_ms <= limits.latency_ms) and (
        limits.energy_mj is None or worst_mj <= limits.energy_mj
    )


def _measured_name(digest: str) -> str:
    return f"measured/{digest}"


def _costs_to_record(costs: PrefixCosts) -> dict[str, Any]:
    return {key: [asdict(cost) for cost in values] for key, values in costs._asdict().items()}


def _costs_from_record(record: Mapping[str, Any]) -> PrefixCosts:
    return PrefixCosts(**{key: tuple(Cost(**c) for c in values) for key, values in record.items()})
