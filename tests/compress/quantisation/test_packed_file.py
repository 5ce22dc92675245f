"""Packed weights: as many bytes as promised, and the same numbers when they are unpacked, by hand, too."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load

from archspace import Network
from compress.quantisation.codebook import Codebook
from compress.quantisation.packed_file import packed_file
from compress.quantisation.plan import form_size_bytes
from compress.quantisation.post_training import (
    WeightCalibration,
    weight_forms,
    with_weights_rounded,
)
from compress.trained_model import TrainedModel
from deploy.errors import BrokenExport
from deploy.packed_weights import folded_weights, unpacked_weights
from deploy.readme import _PACKED

Make = Callable[..., tuple[TrainedModel, NDArray[np.float32]]]
HOW = {
    "grids": WeightCalibration(),
    "one scale a layer": WeightCalibration(per_channel=False),
    "codebooks": WeightCalibration(codebook=True),
}


def rounded(model: TrainedModel, bits: dict[str, int], how: WeightCalibration) -> TrainedModel:
    return with_weights_rounded(model, weight_forms(model, bits, how))


def bits_of(network: Network, some: tuple[int, ...]) -> dict[str, int]:
    names = [layer.name for layer in network.layers if layer.op in ("conv", "linear")]
    return {name: some[i % len(some)] for i, name in enumerate(names)}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
@pytest.mark.parametrize("some", [(8,), (4,), (32, 2, 5)])
def test_unpacked_weights_are_the_folded_ones(
    random_model: TrainedModel, some: tuple[int, ...], how: WeightCalibration
) -> None:
    """BatchNorm's scales are negative for some channels."""
    model = rounded(random_model, bits_of(random_model.network, some), how)
    content = packed_file(model)
    assert content is not None
    assert model.quantisation is not None
    forms = model.quantisation.weights
    codebooks = frozenset(name for name, form in forms.items() if isinstance(form, Codebook))
    found = unpacked_weights(model.network, load(content), codebooks)
    wanted = folded_weights(model.network, model.weights)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-6 * np.abs(values).max())
    stored = sum(array.nbytes for array in load(content).values())
    promised = sum(form_size_bytes(n, forms.get(n.name)) for n in model.network.layers)
    if how.per_channel or how.codebook:
        assert stored == promised


def test_the_recipe_in_the_readme_unpacks(random_model: TrainedModel) -> None:
    model = rounded(random_model, bits_of(random_model.network, (3,)), WeightCalibration())
    content = packed_file(model)
    assert content is not None
    (code,) = re.findall(r"```python\n(.*?)```", _PACKED, re.DOTALL)
    scope: dict[str, Callable[..., tuple[NDArray[np.float32], NDArray[np.uint8], int]]] = {}
    exec(code, scope)
    scale, integers, bits = scope["unpack"](load(content)["group.packed"])
    assert bits == 3
    wanted = folded_weights(model.network, model.weights)["group.weight"]
    rows = integers.reshape(len(scale), -1).astype(np.float32) - (2 ** (bits - 1) - 1)
    np.testing.assert_allclose(
        (rows * scale[:, None]).reshape(wanted.shape), wanted, rtol=0, atol=1e-6
    )


def test_what_cannot_be_packed_has_no_file(random_model: TrainedModel) -> None:
    affine = WeightCalibration(symmetric=False)
    assert packed_file(random_model) is None
    assert packed_file(rounded(random_model, bits_of(random_model.network, (4,)), affine)) is None


def test_arrays_that_do_not_fit_are_refused(random_model: TrainedModel) -> None:
    model = rounded(random_model, bits_of(random_model.network, (4,)), WeightCalibration())
    content = packed_file(model)
    assert content is not None
    whole = load(content)
    broken = {
        "there is no array deep.bias": {k: v for k, v in whole.items() if k != "deep.bias"},
        "belong to no layer": {**whole, "more": np.zeros(1)},
        "expected 16 float32 numbers": {**whole, "deep.bias": np.zeros(3, np.float32)},
        "a scale an output channel": {**whole, "stem.packed": whole["early.packed"]},
    }
    for message, arrays in broken.items():
        with pytest.raises(BrokenExport, match=message):
            unpacked_weights(model.network, arrays, frozenset())
    with pytest.raises(BrokenExport, match="at least 10 bytes"):
        unpacked_weights(model.network, {**whole, "deep.packed": np.zeros(0)}, frozenset())
