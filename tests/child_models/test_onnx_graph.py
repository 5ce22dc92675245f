from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from archspace import Exit, Network, Shape
from child_models import WeightMismatch, build_module, build_onnx, onnx_output_names, weight_shapes


def run(model: onnx.ModelProto, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})  # type: ignore[no-any-return]


def trained_like(network: Network) -> tuple[torch.nn.Module, dict[str, NDArray[Any]]]:
    """A module whose BatchNorms have done work, and its weights as arrays."""
    torch.manual_seed(1)
    module = build_module(network).train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, *network.input_shape) * 2 + 0.5)
        for name, parameter in module.named_parameters():
            if "norm" in name or "bias" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval(), {k: v.numpy() for k, v in module.state_dict().items()}


def images_for(network: Network, batch: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, *network.input_shape), dtype=np.float32)


def assert_same_as_torch(network: Network, *, batch: int | None, fold: bool) -> None:
    module, weights = trained_like(network)
    images = images_for(network, batch or 3)
    with torch.no_grad():
        expected = module(torch.from_numpy(images))
    found = run(build_onnx(network, weights, batch=batch, fold_batch_norm=fold), images)
    assert len(found) == len(expected) == len(network.heads)
    for theirs, ours in zip(expected, found, strict=True):
        assert ours.shape == tuple(theirs.shape)
        scale = max(1.0, float(theirs.abs().max()))
        np.testing.assert_allclose(ours / scale, theirs.numpy() / scale, atol=1e-5)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("batch", [None, 1])
def test_exits_skips_and_groups_agree_with_torch(
    residual_network: Network, batch: int | None, fold: bool
) -> None:
    assert_same_as_torch(residual_network, batch=batch, fold=fold)


@pytest.mark.parametrize("fold", [True, False])
def test_a_nas_bench_201_cell_agrees_with_torch(cell_network: Network, fold: bool) -> None:
    assert_same_as_torch(cell_network, batch=2, fold=fold)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_agree_with_torch(
    random_network: Callable[[int], Network], seed: int
) -> None:
    assert_same_as_torch(random_network(seed), batch=None, fold=seed % 2 == 0)


def test_blocks_stand_alone_and_give_maps(residual_network: Network) -> None:
    layers = tuple(
        replace(layer, block="tail" if index >= 3 else "stem")
        for index, layer in enumerate(residual_network.layers)
    )
    whole = replace(residual_network, layers=layers)
    block = replace(whole.blocks[1], layers=whole.blocks[1].layers[:4]).as_network()
    assert block.output == "n6"
    model = build_onnx(block, None, batch=1)
    (found,) = run(model, images_for(block, 1))
    assert found.shape == (1, 12, 4, 4)
    assert model.graph.output[0].name == "logits"
    assert_same_as_torch(block, batch=None, fold=True)


def test_names_and_metadata(residual_network: Network) -> None:
    model = build_onnx(residual_network, None)
    assert [value.name for value in model.graph.input] == ["image"]
    assert tuple(value.name for value in model.graph.output) == ("logits_exit0", "logits")
    assert onnx_output_names(residual_network) == ("logits_exit0", "logits")
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param == "batch"
    assert {p.key: p.value for p in model.metadata_props} == {
        "netlathe_digest": residual_network.digest
    }
    assert model.opset_import[0].version >= 17


def test_folding_leaves_no_batch_norm(residual_network: Network) -> None:
    folded = {node.op_type for node in build_onnx(residual_network, None).graph.node}
    plain = build_onnx(residual_network, None, fold_batch_norm=False).graph.node
    assert "BatchNormalization" not in folded
    assert sum(node.op_type == "BatchNormalization" for node in plain) == 3


@pytest.mark.parametrize("which", ["residual_network", "cell_network"])
def test_random_weights_are_the_same_each_time_and_keep_the_scale(
    request: pytest.FixtureRequest, which: str
) -> None:
    network: Network = request.getfixturevalue(which)
    first = build_onnx(network, None).SerializeToString(deterministic=True)
    assert first == build_onnx(network, None).SerializeToString(deterministic=True)
    (*_, logits) = run(build_onnx(network, None), images_for(network, 8))
    assert 1e-3 < np.abs(logits).max() < 1e3
    assert np.ptp(logits, axis=0).max() > 1e-4  # different images give different logits


def test_one_layer_may_be_two_heads(residual_network: Network) -> None:
    doubled = replace(residual_network, exits=(Exit(name="same", layer="n8"),))
    first, second = run(build_onnx(doubled, None), images_for(doubled, 2))
    np.testing.assert_array_equal(first, second)


def test_a_head_that_another_layer_reads(residual_network: Network) -> None:
    """The exit's logits, doubled by a further layer, are the final logits."""
    doubled = replace(
        residual_network.layers[2], name="n9", op="add", inputs=("n2", "n2"), in_channels=10
    )
    network = replace(residual_network, layers=(*residual_network.layers, doubled), output="n9")
    early, final = run(build_onnx(network, None), images_for(network, 2))
    assert final.shape == (2, 10)
    np.testing.assert_allclose(final, 2 * early)


def test_weights_of_another_network_are_refused(
    residual_network: Network, cell_network: Network
) -> None:
    _, weights = trained_like(residual_network)
    with pytest.raises(WeightMismatch, match=r"layers.n0.conv.weight should be \(4, 3, 3, 3\)"):
        build_onnx(cell_network, weights)
    del weights["layers.n3.norm.running_var"]
    with pytest.raises(WeightMismatch, match=r"layers.n3.norm.running_var \(8,\) is missing"):
        build_onnx(residual_network, weights)


def test_a_batch_below_one_is_refused(residual_network: Network) -> None:
    with pytest.raises(ValueError, match="batch: expected a number ≥ 1"):
        build_onnx(residual_network, None, batch=0)


def test_building_takes_milliseconds(random_network: Callable[[int], Network]) -> None:
    """Far from a benchmark: the aim is 15 ms; torch's exporter needs seconds."""
    network = max((random_network(seed) for seed in range(20)), key=lambda n: len(n.layers))
    build_onnx(network, None)
    start = time.process_time()
    for _ in range(5):
        build_onnx(network, None)
    assert (time.process_time() - start) / 5 < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("which", ["residual_network", "cell_network"])
def test_agrees_with_torchs_own_exporter(
    request: pytest.FixtureRequest, which: str, tmp_path: Path
) -> None:
    network: Network = request.getfixturevalue(which)
    module, weights = trained_like(network)
    path = tmp_path / "exported.onnx"
    example = torch.from_numpy(images_for(network, 2))
    torch.onnx.export(
        module, (example,), path, dynamo=True, external_data=False, verbose=False, opset_version=18
    )
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    ours = run(build_onnx(network, weights, batch=2), example.numpy())
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_weight_shapes_are_all_used(residual_network: Network) -> None:
    model = build_onnx(residual_network, None, fold_batch_norm=False)
    stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert stored == weight_shapes(residual_network)
    assert residual_network.input_shape == Shape(1, 8, 8)
