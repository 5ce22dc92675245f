"""The checks of a quantised export: are the weights the numbers that they may be, and does INT8 compute what it should?

The reference is written anew here: our own module, with maps rounded as ``quantisation.json`` says, in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archspace import INPUT, ArchitectureDocument, Network
from child_models import ChildModule
from child_models.int8_onnx import quantised_nodes
from child_models.onnx_graph import IMAGE
from child_models.scoring import load_weights
from deploy import files
from deploy.errors import BrokenExport
from deploy.verify_files import read_onnx
from deploy.verify_outputs import probe_images, run_onnx

if TYPE_CHECKING:
    from onnx import GraphProto

INT8_TOLERANCE = 0.05
"""Root mean square of INT8's distance to fake quantisation, as a share of the logits' own.

Both round alike, but sum in another order: a number beside the middle of two steps may go either way, and what follows with it.
"""
_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    ArithmeticError,
    RecursionError,
)
"""What JSON that is something else than expected can make of code that takes it apart."""
_OFF_GRID = 1e-3
"""How far a weight may be from a number of its grid, in steps: float32's own rounding."""


@dataclass(frozen=True, slots=True)
class _Rounding:
    """Of a map: scale · (q − zero_point), q in 0 … 2^bits − 1."""

    bits: int
    scale: float
    zero_point: int

    def __call__(self, values: Tensor) -> Tensor:
        scale = torch.tensor(self.scale, dtype=torch.float32)
        steps = torch.round(values / scale) + self.zero_point
        return (steps.clamp(0, 2**self.bits - 1) - self.zero_point) * scale


def check_quantisation(directory: Path, document: ArchitectureDocument) -> str:
    """``quantisation.json`` fits the layers' bits, and every weight is one of the numbers it allows."""
    data = _read(directory)
    weights = files.read_weights(directory)
    layers = {layer.name: layer for layer in document.network.layers}
    quantised = {name for name, layer in layers.items() if layer.bits != 32}
    if set(data["weights"]) != quantised:
        raise BrokenExport(
            f"{files.QUANTISATION}: layers {sorted(set(data['weights']) ^ quantised)[:3]} are quantised "
            f"there or in {files.ARCHITECTURE}, but not in both"
        )
    for name, form in data["weights"].items():
        values = weights[f"layers.{name}.{layers[name].op}.weight"]
        try:
            with np.errstate(over="raise"):
                wrong = _off_grid(values, form)
        except _MALFORMED as error:
            raise BrokenExport(f"{files.QUANTISATION}: grid of layer {name}: {error!r}") from error
        if wrong:
            raise BrokenExport(
                f"{files.WEIGHTS}: {wrong} weights of layer {name} are not numbers of its grid"
            )
    return f"weights of {len(quantised)} layers on their grids, {len(data['maps'])} maps rounded"


def check_int8(directory: Path, document: ArchitectureDocument) -> str:
    """``model.int8.onnx`` is there exactly where it should be, has integers, and computes what fake quantisation does."""
    data = _read(directory)
    here = files.INT8_ONNX in files.optional_here(directory)
    if here != bool(data["executed_in_int8"]):
        raise BrokenExport(
            f"{files.QUANTISATION} says that it is {'' if data['executed_in_int8'] else 'not '}executed in "
            f"INT8, but {files.INT8_ONNX} is {'there' if here else 'missing'}"
        )
    if not here:
        return "executed in float32: only the size of packed weights is smaller"
    model = read_onnx(directory, document, files.INT8_ONNX)
    found = quantised_nodes(model)
    if found != len(data["weights"]):
        raise BrokenExport(
            f"{files.INT8_ONNX} has {found} nodes with integers, expected {len(data['weights'])}"
        )
    _check_scales(model.graph, document.network, data["maps"])
    return f"{found} nodes in INT8; {_compare_outputs(directory, document.network, data)}"


def _check_scales(graph: GraphProto, network: Network, maps: Mapping[str, Any]) -> None:
    """Maps are rounded with the scales and zero points that ``quantisation.json`` has, and no others."""
    from onnx import numpy_helper

    names = {IMAGE: INPUT} | {f"layers.{n.name}": n.name for n in network.layers}
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name}
    flat = {node.output[0] for node in graph.node if node.op_type == "Flatten"}
    found = {
        names.get(node.input[0], node.input[0]): tuple(
            float(constants[part])
            for part in node.input[1:3]
            if part in constants and constants[part].ndim == 0
        )
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in flat
    }
    wanted = {
        name: (float(np.float32(grid["scale"])), float(grid["zero_point"]))
        for name, grid in maps.items()
    }
    wrong = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    if wrong:
        raise BrokenExport(
            f"{files.INT8_ONNX} rounds maps {wrong[:3]} otherwise than {files.QUANTISATION} says"
        )


def _compare_outputs(directory: Path, network: Network, data: dict[str, Any]) -> str:
    images = probe_images(network)
    found = run_onnx(directory, network, images, files.INT8_ONNX)
    plain = run_onnx(directory, network, images)
    expected = _fake_quantised(network, files.read_weights(directory), data, images)
    size = max(_rms(expected), 1e-6)
    gap, float_gap = _rms(found - expected) / size, _rms(found - plain) / size
    agreement = float((found.argmax(-1) == expected.argmax(-1)).mean())
    if not gap <= INT8_TOLERANCE:
        raise BrokenExport(
            f"{files.INT8_ONNX} is {gap:.1%} off fake quantisation (root mean square), allowed {INT8_TOLERANCE:.0%}"
        )
    if float_gap == 0 or gap > float_gap:
        raise BrokenExport(
            f"{files.INT8_ONNX} is nearer to {files.ONNX} ({float_gap:.2%}) than to fake quantisation "
            f"({gap:.2%}): its maps are not rounded as {files.QUANTISATION} says"
        )
    return (
        f"{gap:.2%} off fake quantisation (allowed {INT8_TOLERANCE:.0%}), {float_gap:.2%} off float32; "
        f"{agreement:.0%} of classes equal on random images"
    )


class _Rounded(ChildModule):
    """Maps rounded after each layer, and the image before the first."""

    roundings: Mapping[str, _Rounding]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return super().forward(self._round(INPUT, x))

    def run_layer(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        return self._round(name, super().run_layer(name, inputs))

    def _round(self, name: str, values: Tensor) -> Tensor:
        return self.roundings[name](values) if name in self.roundings else values


def _fake_quantised(
    network: Network, weights: Mapping[str, Any], data: dict[str, Any], images: NDArray[Any]
) -> NDArray[np.float32]:
    """(heads, N, classes)."""
    with torch.random.fork_rng(devices=[]):
        module = _Rounded(network)
    module.roundings = {
        name: _Rounding(grid["bits"], grid["scale"], grid["zero_point"])
        for name, grid in data["maps"].items()
    }
    load_weights(module, weights)
    with torch.inference_mode():
        return np.stack([logits.numpy() for logits in module(torch.from_numpy(images))])


def _read(directory: Path) -> dict[str, Any]:
    """The parts that are used, checked for their form. Raises BrokenExport."""
    try:
        data = json.loads((directory / files.QUANTISATION).read_bytes())
        for grid in data["maps"].values():
            _Rounding(int(grid["bits"]), float(grid["scale"]), int(grid["zero_point"]))
            _check_grid(grid)
        for form in data["weights"].values():
            if form["kind"] == "codebook":
                np.asarray(form["centroids"], np.float64)
            else:
                _check_grid(form)
        bool(data["executed_in_int8"])
    except (OSError, *_MALFORMED) as error:
        raise BrokenExport(f"{files.QUANTISATION} cannot be read: {error!r}") from error
    result: dict[str, Any] = data
    return result


def _check_grid(grid: Mapping[str, Any]) -> None:
    """Raises ValueError on bits or steps that no grid has: nothing may be divided by zero or raised to a huge power."""
    scale = np.asarray(grid["scale"], np.float64)
    if grid["bits"] not in range(2, 9) or not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError("expected 2 to 8 bits and finite steps above 0")


def _off_grid(values: NDArray[np.float32], form: dict[str, Any]) -> int:
    """How many of `values` are no number of `form`."""
    if form["kind"] == "codebook":
        return int((~np.isin(values, np.array(form["centroids"], np.float32))).sum())
    spread = [-1 if axis == form["channel_axis"] else 1 for axis in range(values.ndim)]
    scale, zero = (
        np.array(form[part], np.float64).reshape(spread if form["channel_axis"] is not None else ())
        for part in ("scale", "zero_point")
    )
    steps = values / scale + zero
    limit = 2 ** (form["bits"] - 1) - 1
    low, high = (-limit, limit) if form["symmetric"] else (0, 2 ** form["bits"] - 1)
    nearest = np.clip(np.rint(steps), low, high)
    return int((np.abs(steps - nearest) > _OFF_GRID).sum())


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
