"""Whether a device that was fitted to a table knows what the networks of a run cost."""

from __future__ import annotations

import json
import logging

from archspace import SearchSpace
from latency_models import DeviceConfig, FittedDevice
from service.errors import UsageError

_log = logging.getLogger(__name__)


def check_fitted(fitted: FittedDevice, space: SearchSpace) -> None:
    """Refuse a device that cannot be searched with.

    Raises:
        UsageError: it does not predict milliseconds, the space has early exits, or the device was fitted to another
            space. Another number of classes is no other space: only the last layer differs.
    """
    name = f"the fitted device {fitted.header.device}"
    if fitted.header.unit != "ms":
        raise UsageError(
            f"{name} predicts {fitted.header.unit}, and a search needs latency: expected a device fitted to a column in "
            "ms (netlathe latency fit … --unit ms)"
        )
    exits = [decision.name for decision in space.decisions if decision.name.endswith(".exit")]
    if exits:
        raise UsageError(
            f"{name} was fitted to whole networks and does not know what leaving early saves, but this run's space "
            f"decides about {', '.join(exits)}: set space.early_exits: false, and fit the table to that space"
        )
    differences = _differences(fitted.space, space)
    if differences:
        raise UsageError(
            f"{name} was fitted to another space than this run's, where the same choices cost something else:\n"
            + "".join(f"  {line}\n" for line in differences)
            + "measure networks of this run's space: netlathe latency fit TABLE --space CONFIG"
        )


def warn_of_fitted(fitted: FittedDevice, space: SearchSpace, config: DeviceConfig) -> None:
    """Say at the start what cannot be expected of such a device."""
    _log.warning(
        "the device was fitted to a table: nothing can be measured on %s from here. Latencies are predicted, and limits "
        "are checked on predictions",
        fitted.header.device,
    )
    there, here = fitted.space.to_dict()["num_classes"], space.to_dict()["num_classes"]
    if there != here:
        _log.warning(
            "the table's networks have %d classes, this run's have %d: their last layers cost something else, which is "
            "not predicted",
            there,
            here,
        )
    if config.batch_size != 1:
        _log.warning(
            "device.batch_size %d does not count: latencies are those of the table's calls, energies are estimated for "
            "one image",
            config.batch_size,
        )


def _differences(fitted: SearchSpace, searched: SearchSpace) -> list[str]:
    """ "images: 3×32×32 there, 1×8×8 in this run" for each setting that is not the same."""
    there, here = _settings(fitted), _settings(searched)
    names = list(there | here) if fitted.kind == searched.kind else ["kind", "images"]
    return [
        f"{name}: {there.get(name)} there, {here.get(name)} in this run"
        for name in names
        if there.get(name) != here.get(name)
    ]


def _settings(space: SearchSpace) -> dict[str, str]:
    """All that the cost of a choice depends on, as text by name."""
    data = space.to_dict()
    config = {name: json.dumps(value) for name, value in data["config"].items() if name != "kind"}
    images = "×".join(map(str, data["input_shape"].values()))
    return {"kind": space.kind, "images": images, **config}
