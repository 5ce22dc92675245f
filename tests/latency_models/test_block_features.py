import numpy as np
import pytest

from archspace import INPUT, Block, Layer, Network, Shape
from child_models import count_macs
from latency_models.features import (
    BLOCK_FEATURES,
    CONVOLUTIONS,
    block_digest,
    block_features,
    block_key,
    layer_kind,
)


def conv(name: str, source: str, *, kernel: int = 3, groups: int = 1) -> Layer:
    return Layer(
        name=name,
        op="conv",
        inputs=(source,),
        block="b",
        in_channels=8,
        out_channels=8,
        kernel=kernel,
        padding=kernel // 2,
        groups=groups,
    )


def test_hand_count() -> None:
    block = Block(
        name="b",
        layers=(conv("dw", INPUT, groups=8), conv("pw", "dw", kernel=1)),
        input_shape=Shape(8, 4, 4),
    )
    values = dict(zip(BLOCK_FEATURES, block_features(block), strict=True))
    expected = {
        "blocks": 1,
        "conv_depthwise.layers": 1,
        "conv_depthwise.mmacs": 8 * 16 * 9 / 1e6,
        "conv_depthwise.kb": 2 * 8 * 16 * 4 / 1e3,
        "conv_depthwise.weight_kb": 8 * 9 * 4 / 1e3,
        "conv_1x1.layers": 1,
        "conv_1x1.mmacs": 64 * 16 / 1e6,
        "conv_1x1.kb": 2 * 8 * 16 * 4 / 1e3,
        "conv_1x1.weight_kb": 64 * 4 / 1e3,
    }
    assert {k: v for k, v in values.items() if v} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kernel", "groups", "kind"),
    [
        (3, 1, "conv"),
        (1, 1, "conv_1x1"),
        (3, 8, "conv_depthwise"),
        (3, 2, "conv_grouped"),
        (1, 2, "conv_grouped"),
    ],
)
def test_kinds(kernel: int, groups: int, kind: str) -> None:
    assert layer_kind(conv("c", INPUT, kernel=kernel, groups=groups)) == kind


def test_key_and_digest_tell_blocks_apart_as_the_signature_does(networks: list[Network]) -> None:
    blocks = [block for network in networks for block in network.blocks]
    by_signature = {block.signature for block in blocks}
    assert len({block_key(block) for block in blocks}) == len(by_signature)
    assert len({block_digest(block) for block in blocks}) == len(by_signature)
    pairs = {(block.signature, block_digest(block)) for block in blocks}
    assert len(pairs) == len(by_signature) < len(blocks)


def test_features_of_blocks_add_up_to_the_network(networks: list[Network]) -> None:
    for network in networks:
        total = np.sum([block_features(block) for block in network.blocks], axis=0)
        values = dict(zip(BLOCK_FEATURES, total, strict=True))
        convs = sum(values[f"{kind}.mmacs"] for kind in CONVOLUTIONS)
        linear = sum(
            layer.in_channels * layer.out_channels
            for layer in network.layers
            if layer.op == "linear"
        )
        assert convs * 1e6 + linear == pytest.approx(count_macs(network))
        assert values["blocks"] == len(network.blocks)
