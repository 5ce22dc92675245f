"""`netlathe latency predict`: what exported networks cost on a profiled device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.errors import UsageError
from service.latency_inputs import (
    NamedArchitecture,
    naming,
    read_architecture,
    read_device_file,
    read_fitted_device,
)
from service.output import print_json, print_table

if TYPE_CHECKING:
    from latency_models import Cost, DeviceFile

COLUMNS = (
    "network",
    "latency ms",
    "90 % interval",
    "latency is",
    "energy mJ",
    "energy is",
    "parameters",
    "MACs",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedHead:
    """What running a network up to one head costs, all heads before it included."""

    head: str
    latency_ms: Cost
    energy_mj: Cost
    num_params: int
    macs: int


def run_latency_predict(paths: Sequence[Path], device_path: Path, *, as_json: bool) -> None:
    """Print one row a network, in the order given, and one for each of its early exits."""
    if device_path.suffix == ".safetensors":
        _run_fitted(paths, device_path, as_json=as_json)
        return
    file = read_device_file(device_path)
    architectures = [read_architecture(path) for path in paths]
    heads = []
    for architecture in architectures:
        with naming(architecture.path, device_path):
            heads.append(_predict(file, architecture))
    if as_json:
        networks = [
            _as_dict(architecture, rows)
            for architecture, rows in zip(architectures, heads, strict=True)
        ]
        print_json(
            {
                "device": file.device.name,
                "batch_size": file.device.batch_size,
                "networks": networks,
            }
        )
        return
    _show(file, architectures, heads)


def _predict(file: DeviceFile, architecture: NamedArchitecture) -> list[PredictedHead]:
    """One entry a head; the last is the whole network."""
    from child_models import count_macs, count_params
    from latency_models import prefix_networks

    network = architecture.document.network
    (costs,) = file.cost_model().predict([network])
    names = [*(exit_.name for exit_ in network.exits), "whole network"]
    return [
        PredictedHead(
            head=name,
            latency_ms=latency,
            energy_mj=energy,
            num_params=count_params(prefix),
            macs=count_macs(prefix),
        )
        for name, latency, energy, prefix in zip(
            names, costs.latency_ms, costs.energy_mj, prefix_networks(network), strict=True
        )
    ]


def _as_dict(architecture: NamedArchitecture, heads: Sequence[PredictedHead]) -> dict[str, Any]:
    *exits, whole = [_head_as_dict(head) for head in heads]
    return {
        "file": str(architecture.path),
        "digest": architecture.document.digest,
        "label": architecture.document.label,
        **whole,
        "exits": exits,
    }


def _head_as_dict(head: PredictedHead) -> dict[str, Any]:
    from latency_models import interval_90

    data = asdict(head)
    data["latency_ms"]["interval_90"] = list(interval_90(head.latency_ms))
    return data


def _show(
    file: DeviceFile,
    architectures: Sequence[NamedArchitecture],
    heads: Sequence[Sequence[PredictedHead]],
) -> None:
    rows = []
    for architecture, (*exits, whole) in zip(architectures, heads, strict=True):
        rows.append(_row(str(architecture.path), whole))
        rows += [_row(f"  up to {head.head}", head) for head in exits]
    size = file.device.batch_size
    call = "" if size == 1 else f", a call of {size} images"
    print_table(f"{file.device.name}{call}", COLUMNS, rows)


def _row(name: str, head: PredictedHead) -> tuple[str, ...]:
    from latency_models import interval_90

    low, high = interval_90(head.latency_ms)
    return (
        name,
        f"{head.latency_ms.value:.4g} ± {head.latency_ms.std:.2g}",
        f"{low:.4g} – {high:.4g}",
        head.latency_ms.source,
        f"{head.energy_mj.value:.3g} ± {head.energy_mj.std:.2g}",
        head.energy_mj.source,
        f"{head.num_params:,}",
        f"{head.macs:,}",
    )


def _run_fitted(paths: Sequence[Path], device_path: Path, *, as_json: bool) -> None:
    """A device learnt from a table knows one cost of whole networks, and only those of its space."""
    from archspace import SpaceError
    from latency_models import Cost, interval_90

    fitted = read_fitted_device(device_path)
    choices = []
    for architecture in map(read_architecture, paths):
        try:
            choices.append(fitted.space.from_named(architecture.document.choices or {}))
        except SpaceError as error:
            raise UsageError(
                f"{architecture.path} cannot be predicted with {device_path}, which was fitted to another space "
                f"({fitted.space.kind}): {error}"
            ) from error
    values, stds = fitted.model.predict_with_std(np.array(choices))
    costs = [
        Cost(value, std, "predicted")
        for value, std in zip(values.tolist(), stds.tolist(), strict=True)
    ]
    unit = fitted.header.unit
    if as_json:
        networks = [
            {"file": str(path), **asdict(cost)} for path, cost in zip(paths, costs, strict=True)
        ]
        print_json({"device": fitted.header.device, "unit": unit, "networks": networks})
        return
    rows = []
    for path, cost in zip(paths, costs, strict=True):
        low, high = interval_90(cost)
        spread = f"{cost.value:.4g} ± {cost.std:.2g}"
        rows.append((str(path), spread, f"{low:.4g} – {high:.4g}", cost.source))
    print_table(fitted.header.device, ("network", unit, "90 % interval", "which is"), rows)
