"""Networks as INT8 ONNX models, made for measuring."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from archspace import Network, Shape, StagedSpace, StagedSpaceConfig
from child_models import build_for_measuring, count_bytes, count_params, layer_counts
from child_models.int8_onnx import quantised_nodes

SPACE = StagedSpace(
    StagedSpaceConfig.model_validate(
        {
            "stages": [{"channels": 16, "layers": 2}, {"channels": 24, "layers": 1, "stride": 2}],
            "bits": [8, 4],
        }
    ),
    input_shape=Shape(3, 8, 8),
    num_classes=4,
)


@pytest.fixture(params=range(4))
def network(request: pytest.FixtureRequest) -> Network:
    return SPACE.resolve(SPACE.sample(np.random.default_rng(request.param)))


def test_all_weights_run_in_int8(network: Network) -> None:
    model = build_for_measuring(network, batch=2)
    weighted = [layer for layer in network.layers if layer.op in ("conv", "linear")]
    assert quantised_nodes(model) == len(weighted)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    *_, logits = session.run(None, {"image": images})
    assert logits.shape == (2, 4)
    assert np.isfinite(logits).all()
    assert np.ptp(logits) > 0


def test_each_block_alone_runs_in_int8(network: Network) -> None:
    for block in network.blocks:
        alone = block.as_network()
        assert alone.is_int8
        weighted = [layer for layer in alone.layers if layer.op in ("conv", "linear")]
        assert quantised_nodes(build_for_measuring(alone, batch=1)) == len(weighted)


def test_float32_networks_stay_so(network: Network) -> None:
    assert quantised_nodes(build_for_measuring(network.with_bits(32), batch=1)) == 0


def test_bytes_by_formula(network: Network) -> None:
    plain = network.with_bits(32)
    assert count_bytes(plain) == 4 * count_params(plain)
    stored = 0
    for layer, count in zip(network.layers, layer_counts(network), strict=True):
        if layer.op in ("conv", "linear"):
            fan_in = layer.in_channels // layer.groups * layer.kernel**2
            weights = layer.out_channels * fan_in
            stored += -(-layer.bits * weights // 8) + 8 * layer.out_channels
            assert count.weight_bytes == weights + 4 * (count.params - weights)
            assert count.output_bytes == np.prod(network.shapes[layer.name])
    assert count_bytes(network) == stored
    assert count_bytes(network.with_bits(4)) < count_bytes(network.with_bits(8))
    # executed alike
    four, eight = (layer_counts(network.with_bits(bits)) for bits in (4, 8))
    assert four == eight
