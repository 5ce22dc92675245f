"""MobileNetV3-like peers: size, shape, and that they are networks like any other."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from archspace import ArchitectureDocument, Network, Shape
from child_models import build_module, build_onnx, count_macs, count_params

PEERS = ("v3-small", "compact", "short")


@pytest.fixture
def mobilenet(scripts: dict[str, ModuleType]) -> Any:
    return scripts["mobilenet"]


def scaled(mobilenet: Any, name: str, params: int, size: int) -> Network:
    peer = next(peer for peer in mobilenet.peers(size) if peer.name == name)
    network: Network = mobilenet.scaled_to(
        peer, params, input_shape=Shape(3, size, size), num_classes=15
    )
    return network


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("params", [700, 2500, 5000, 9000, 17000, 40000, 1_000_000])
def test_parameters_are_those_asked_for(mobilenet: Any, name: str, size: int, params: int) -> None:
    assert count_params(scaled(mobilenet, name, params, size)) == pytest.approx(params, rel=0.05)


def test_width_one_is_the_paper_without_squeeze_and_excitation(mobilenet: Any) -> None:
    paper = mobilenet.peers(224)[0]
    network = mobilenet.build(paper, 1.0, 8, input_shape=Shape(3, 224, 224), num_classes=1000)
    # the paper's table 3: 56 M multiply-adds, 2.5 M parameters with squeeze-and-excitation
    assert count_macs(network) == pytest.approx(56e6, rel=0.04)
    assert 1.9e6 < count_params(network) < 2.5e6
    assert sum(layer.op == "add" for layer in network.layers) == 6
    assert sorted({layer.kernel for layer in network.layers if layer.groups > 1}) == [3, 5]


@pytest.mark.parametrize(
    ("size", "maps"),
    [(32, {"v3-small": 4, "compact": 4, "short": 4}), (96, dict.fromkeys(PEERS, 3))],
)
def test_last_map(mobilenet: Any, size: int, maps: dict[str, int]) -> None:
    for name, side in maps.items():
        network = scaled(mobilenet, name, 9000, size)
        (pool,) = (layer for layer in network.layers if layer.op == "global_avg_pool")
        assert network.shapes[pool.inputs[0]][1:] == (side, side)


def test_compact_halves_earlier_and_short_is_shorter(mobilenet: Any) -> None:
    networks = {name: scaled(mobilenet, name, 9000, 32) for name in PEERS}
    stems = {name: network.shapes["n0"].height for name, network in networks.items()}
    assert stems == {"v3-small": 32, "compact": 16, "short": 16}
    rows = {
        name: len({layer.block for layer in network.layers if "bottleneck" in layer.block})
        for name, network in networks.items()
    }
    assert rows == {"v3-small": 11, "compact": 11, "short": 5}


def test_nothing_is_so_small(mobilenet: Any) -> None:
    with pytest.raises(mobilenet.NoSuchWidth, match=r"100 parameters ± 5%.*ask for another size"):
        scaled(mobilenet, "compact", 100, 32)


def test_images_too_small(mobilenet: Any) -> None:
    with pytest.raises(ValueError, match="at least 16 pixels, got 8"):
        mobilenet.peers(8)


@pytest.mark.parametrize(
    ("channels", "multiple", "expected"),
    [(16, 8, 16), (3, 8, 8), (11, 8, 16), (12, 8, 16), (17, 8, 16), (20, 8, 24), (1.4, 1, 2)],
)
def test_rounding(mobilenet: Any, channels: float, multiple: int, expected: int) -> None:
    assert mobilenet.rounded(channels, multiple) == expected


@pytest.mark.parametrize("name", PEERS)
def test_onnx_says_what_torch_says(mobilenet: Any, name: str) -> None:
    network = scaled(mobilenet, name, 9000, 32)
    torch.manual_seed(0)
    module = build_module(network).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # statistics that folding must get right
            layer.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr,operator]
            layer.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr,operator]
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    session = onnxruntime.InferenceSession(
        build_onnx(network, weights).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    (logits,) = session.run(None, {"image": images})
    with torch.inference_mode():
        (expected,) = module(torch.from_numpy(images))
    assert logits.shape == (4, 15)
    assert np.ptp(expected.numpy()) > 1e-3
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_is_an_architecture_file_like_any_other(mobilenet: Any, name: str, tmp_path: Path) -> None:
    network = scaled(mobilenet, name, 9000, 32)
    document = ArchitectureDocument(digest=network.digest, label=name, network=network)
    document.save(tmp_path / "architecture.json")
    assert ArchitectureDocument.load(tmp_path / "architecture.json").network == network
