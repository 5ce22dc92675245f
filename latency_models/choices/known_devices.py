"""What devices that were learnt before say about a space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from archspace import SearchSpace
from latency_models.choices.encoding import Choices, Floats
from latency_models.choices.fitted_device import FittedDevice
from latency_models.choices.references import reference_weights
from latency_models.device_file import DeviceFile
from latency_models.errors import DeviceFileError

KnownDevice: TypeAlias = DeviceFile | FittedDevice
"""Profiled here or imported; or fitted to a table of the same space."""

_ROWS = 400


def known_device_weights(
    space: SearchSpace, devices: Mapping[str, KnownDevice], pool: Choices
) -> Floats:
    """(num_codes, devices): weights as `reference_weights` gives them.

    A fitted device has them. A profiled one predicts architectures of `pool`, and its predictions are fitted.

    Raises:
        DeviceFileError: a fitted device is of another space, or a profiled one lacks a kind of layer.
    """
    return np.column_stack([_weights(space, n, d, pool) for n, d in devices.items()])


def _weights(space: SearchSpace, name: str, device: KnownDevice, pool: Choices) -> Floats:
    if isinstance(device, FittedDevice):
        if device.space.digest != space.digest:
            raise DeviceFileError(
                f"{name}: expected a device fitted to this space ({space.digest}), got one of another "
                f"({device.space.digest})"
            )
        return device.model.weights
    rows = pool[:_ROWS]
    try:
        costs = device.cost_model().predict_choices(space, rows)
    except DeviceFileError as error:
        raise DeviceFileError(f"{name}: {error}") from error
    return reference_weights(space, rows, [costs.latency_ms], pool=pool)[:, 0]
