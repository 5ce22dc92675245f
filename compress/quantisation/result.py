"""What a quantised model carries besides its weights: which numbers each layer's weights and each map may take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from archspace import INPUT, WEIGHTED, Network
from compress.quantisation.codebook import Codebook
from compress.quantisation.errors import QuantisationError
from compress.quantisation.grids import Grid

JSON_VERSION = 1

WeightForm = Grid | Codebook


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantisation:
    """Plain data; the weights themselves are held as the numbers that these forms allow.

    Attributes:
        weights: layer name → form of its ``conv.weight`` or ``linear.weight``, before BatchNorm is folded in; other layers'
            weights, biases and BatchNorm are float32.
        maps: name of a layer, or ``"input"`` → affine grid of what it gives; empty where only weights are quantised.
    """

    weights: Mapping[str, WeightForm] = field(default_factory=dict)
    maps: Mapping[str, Grid] = field(default_factory=dict)

    def check(self, network: Network) -> None:
        """Raises QuantisationError where a form does not belong to `network`."""
        layers = {layer.name: layer for layer in network.layers}
        for name, form in self.weights.items():
            layer = layers.get(name)
            if layer is None or layer.op not in WEIGHTED:
                raise QuantisationError(
                    f"weights of {name!r}: there is no such conv or linear layer"
                )
            if layer.bits != max(2, form.bits):
                raise QuantisationError(
                    f"layer {name} says {layer.bits} bits, its weights have {form.bits}"
                )
            if isinstance(form, Grid) and form.scale.shape not in ((), (layer.out_channels,)):
                raise QuantisationError(
                    f"layer {name}: expected one scale or {layer.out_channels}, got {form.scale.shape}"
                )
        fewer = [n for n, layer in layers.items() if layer.bits != 32 and n not in self.weights]
        if fewer:
            raise QuantisationError(f"layers {fewer[:3]} have fewer than 32 bits, but no grid")
        for name, grid in self.maps.items():
            if name != INPUT and name not in layers:
                raise QuantisationError(f"map {name!r}: there is no such layer")
            if grid.channel_axis is not None:
                raise QuantisationError(f"map {name}: expected one scale for the whole map")

    @property
    def why_not_int8(self) -> str:
        """Why 8-bit kernels cannot execute it, or an empty text.

        They need 8-bit maps, and weights on symmetric grids (of 8 bits or fewer: fewer take no less time there).
        """
        if not self.maps:
            return "only weights are quantised: they are executed in float32"
        wide = [name for name, grid in self.maps.items() if grid.bits != 8]
        if wide:
            return f"maps {wide[:3]} do not have 8 bits"
        for name, form in self.weights.items():
            if isinstance(form, Codebook):
                return f"layer {name} has a codebook: its numbers are not evenly spaced"
            if not form.symmetric:
                return f"layer {name} has an affine weight grid: BatchNorm cannot be folded into it"
        return "" if self.weights else "only maps are quantised"

    def to_json(self) -> str:
        """Everything, as text that `from_json` accepts; float32 numbers survive exactly."""
        data = {
            "schema_version": JSON_VERSION,
            "executed_in_int8": not self.why_not_int8,
            "weights": {name: _form_to_dict(form) for name, form in self.weights.items()},
            "maps": {name: _form_to_dict(grid) for name, grid in self.maps.items()},
        }
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises QuantisationError where `text` is not what `to_json` writes."""
        try:
            data = json.loads(text)
            if data["schema_version"] != JSON_VERSION:
                raise QuantisationError(
                    f"schema_version: expected {JSON_VERSION}, got {data['schema_version']}"
                )
            with np.errstate(over="raise"):  # a step that float32 cannot hold
                weights = {name: _form_from_dict(row) for name, row in data["weights"].items()}
                maps = {name: _grid_from_dict(row) for name, row in data["maps"].items()}
        except QuantisationError:
            raise
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise QuantisationError(f"not a quantisation file: {error!r}") from error
        return cls(weights=weights, maps=maps)


def _form_to_dict(form: WeightForm) -> dict[str, Any]:
    if isinstance(form, Codebook):
        return {"kind": "codebook", "centroids": form.centroids.tolist()}
    return {
        "kind": "grid",
        "bits": form.bits,
        "symmetric": form.symmetric,
        "channel_axis": form.channel_axis,
        "scale": form.scale.tolist(),
        "zero_point": form.zero_point.tolist(),
    }


def _form_from_dict(row: dict[str, Any]) -> WeightForm:
    if row["kind"] == "codebook":
        return Codebook(np.array(row["centroids"], dtype=np.float32))
    return _grid_from_dict(row)


def _grid_from_dict(row: dict[str, Any]) -> Grid:
    return Grid(
        bits=row["bits"],
        symmetric=row["symmetric"],
        scale=np.array(row["scale"], dtype=np.float32),
        zero_point=np.array(row["zero_point"], dtype=np.int32),
        channel_axis=row["channel_axis"],
    )
