"""INT8 graphs: ONNX Runtime computes what fake quantisation says, on integers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from archspace import Network
from child_models import build_onnx
from child_models.int8_maps import quantised_maps
from child_models.int8_onnx import quantised_nodes
from compress.quantisation.codebook import kmeans_codebook
from compress.quantisation.errors import NotExecutableInInt8
from compress.quantisation.grids import Grid
from compress.quantisation.module import fake_quantised_module
from compress.quantisation.onnx_int8 import int8_onnx
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel

Make = Callable[..., tuple[TrainedModel, NDArray[np.float32]]]


def run(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.stack(session.run(None, {"image": images}))


def fake(model: TrainedModel, images: NDArray[np.float32]) -> NDArray[np.float32]:
    assert model.quantisation is not None
    module = fake_quantised_module(model.network, model.weights, model.quantisation)
    with torch.inference_mode():
        return np.stack([logits.numpy() for logits in module(torch.from_numpy(images))])


def rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_compute_what_fake_quantisation_does(
    random_network: Callable[[int], Network], quantised_at_random: Make, seed: int
) -> None:
    model, images = quantised_at_random(random_network(seed), seed, bits=4 if seed % 3 == 0 else 8)
    found, expected = run(int8_onnx(model), images), fake(model, images)
    assert rms(found - expected) <= 0.01 * rms(expected)
    assert (found.argmax(-1) == expected.argmax(-1)).mean() >= 0.95


def test_it_is_nearer_to_fake_quantisation_than_to_float32(
    digits_network: Network, quantised_at_random: Make
) -> None:
    model, images = quantised_at_random(digits_network, 3)
    found, expected = run(int8_onnx(model), images), fake(model, images)
    plain = run(build_onnx(model.network, model.weights), images)
    assert rms(found - expected) < 0.5 * rms(found - plain)


def test_every_convolution_and_linear_layer_is_executed_on_integers(
    digits_network: Network, quantised_at_random: Make, tmp_path: Path
) -> None:
    model, _ = quantised_at_random(digits_network, 0)
    graph = int8_onnx(model)
    assert quantised_nodes(graph) == 7
    assert quantised_nodes(build_onnx(model.network, model.weights)) == 0
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = [n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert nodes.count("QLinearConv") == 5
    assert nodes.count("QGemm") == 2
    assert nodes.count("QLinearAdd") == 1
    assert not {"Conv", "Gemm", "FusedConv"}.intersection(nodes)


def test_names_metadata_and_batches_are_those_of_the_float_graph(
    digits_network: Network, quantised_at_random: Make
) -> None:
    model, images = quantised_at_random(digits_network, 0)
    plain, int8 = build_onnx(model.network, model.weights), int8_onnx(model)
    assert [v.name for v in int8.graph.output] == [v.name for v in plain.graph.output]
    assert {p.key: p.value for p in int8.metadata_props}["netlathe_digest"] == model.network.digest
    fixed = int8_onnx(model, batch=2)
    np.testing.assert_array_equal(run(fixed, images[:2]), run(int8, images[:2]))
    onnx.checker.check_model(int8, full_check=True)


def test_files_are_smaller(digits_network: Network, quantised_at_random: Make) -> None:
    wide = replace(
        digits_network,
        layers=tuple(
            replace(
                layer,
                in_channels=512 if layer.name in ("pool1", "logits") else layer.in_channels,
                out_channels=512 if layer.name in ("wide", "pool1") else layer.out_channels,
            )
            for layer in digits_network.layers
        ),
    )
    model, _ = quantised_at_random(wide, 0)
    plain = build_onnx(model.network, model.weights).ByteSize()
    assert int8_onnx(model).ByteSize() < plain / 1.5


def test_channels_that_are_almost_nothing_but_bias(
    digits_network: Network, quantised_at_random: Make
) -> None:
    """A tiny BatchNorm scale makes the bias too many steps for 32 bits, unless the step is widened."""
    model, images = quantised_at_random(digits_network, 0)
    weights = dict(model.weights)
    gamma = weights["layers.point.norm.weight"].copy()
    gamma[0], gamma[1] = 1e-12, 0.0
    bias = np.full_like(weights["layers.point.norm.bias"], 3.0)
    weights |= {"layers.point.norm.weight": gamma, "layers.point.norm.bias": bias}
    changed = replace(model, weights=weights)
    found, expected = run(int8_onnx(changed), images), fake(changed, images)
    assert rms(found - expected) <= 0.01 * rms(expected)


def test_what_eight_bit_kernels_cannot_run_is_refused(
    digits_network: Network, quantised_at_random: Make
) -> None:
    model, _ = quantised_at_random(digits_network, 0)
    assert model.quantisation is not None
    forms, maps = model.quantisation.weights, model.quantisation.maps
    codebook = kmeans_codebook(model.weights["layers.stem.conv.weight"], 8)
    affine = Grid.of_range(-1.0, 2.0, 8, symmetric=False)
    four = {name: Grid.of_range(0.0, 1.0, 4, symmetric=False) for name in maps}
    for quantisation, message in (
        (Quantisation(weights=forms), "only weights are quantised"),
        (Quantisation(weights={**forms, "stem": codebook}, maps=maps), "stem has a codebook"),
        (Quantisation(weights={**forms, "stem": affine}, maps=maps), "stem has an affine"),
        (Quantisation(weights=forms, maps=four), "do not have 8 bits"),
    ):
        with pytest.raises(NotExecutableInInt8, match=message):
            int8_onnx(replace(model, quantisation=quantisation))
    fewer = {name: grid for name, grid in maps.items() if name != "deep"}
    with pytest.raises(NotExecutableInInt8, match=r"maps \['deep'\] have no grid"):
        int8_onnx(replace(model, quantisation=Quantisation(weights=forms, maps=fewer)))


def test_a_layer_left_in_float32_is_refused(
    digits_network: Network, quantised_at_random: Make
) -> None:
    model, _ = quantised_at_random(digits_network, 0)
    assert model.quantisation is not None
    layers = tuple(replace(n, bits=32) if n.name == "deep" else n for n in model.network.layers)
    rest = {n: form for n, form in model.quantisation.weights.items() if n != "deep"}
    changed = replace(
        model,
        network=replace(model.network, layers=layers),
        quantisation=Quantisation(weights=rest, maps=model.quantisation.maps),
    )
    with pytest.raises(NotExecutableInInt8, match=r"layers \['deep'\] have float32 weights"):
        int8_onnx(changed)


def test_equal_models_give_equal_bytes_without_warnings(
    digits_network: Network, quantised_at_random: Make, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = quantised_at_random(digits_network, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (int8_onnx(model).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert not caplog.records


def test_which_maps_are_rounded(digits_network: Network) -> None:
    assert quantised_maps(digits_network) == (
        "input", "stem", "pool0", "deep", "point", "sum", "group", "wide", "pool1",
    )  # fmt: skip
