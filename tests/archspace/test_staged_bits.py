"""Bits as decisions of a staged space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from archspace import WEIGHTED, Network, Shape, StagedSpace, StagedSpaceConfig

STAGES = ({"channels": 16, "layers": 2}, {"channels": 24, "layers": 1, "stride": 2})


def make(**settings: Any) -> StagedSpace:
    config = StagedSpaceConfig.model_validate({"stages": STAGES, **settings})
    return StagedSpace(config, input_shape=Shape(3, 8, 8), num_classes=4)


def bits_of(network: Network, *, layers_only: bool = False) -> set[int]:
    return {
        layer.bits
        for layer in network.layers
        if layer.op in WEIGHTED and not (layers_only and layer.block in ("stem", "head"))
    }


def drawn(space: StagedSpace, count: int = 200) -> list[tuple[dict[str, Any], Network]]:
    rng = np.random.default_rng(0)
    points = [space.sample(rng) for _ in range(count)]
    return [(dict(space.named(point)), space.resolve(point)) for point in points]


def test_spaces_without_bits_are_what_they_were() -> None:
    space = make()
    assert "bits" not in space.to_dict()["config"]
    assert make(bits=[32]).digest == space.digest
    assert not any("bits" in d.name or d.name == "execution" for d in space.decisions)
    assert bits_of(space.resolve(space.sample(np.random.default_rng(0)))) == {32}


def test_a_network_is_float32_or_int8_as_a_whole() -> None:
    space = make(bits=[32, 8, 4])
    seen = set()
    for named, network in drawn(space):
        seen.add(named["execution"])
        if named["execution"] == "float32":
            assert bits_of(network) == {32}
            assert not network.is_int8
            assert {value for name, value in named.items() if name.endswith("bits")} == {32}
        else:
            assert network.is_int8
            assert bits_of(network, layers_only=True) <= {8, 4}
            ends = [n.bits for n in network.layers if n.op in WEIGHTED]
            assert (ends[0], ends[-1]) == (8, 8)  # the stem and the head
    assert seen == {"float32", "int8"}


def test_each_layer_gets_the_bits_that_were_decided() -> None:
    space = make(bits=[32, 8, 4], operations=["conv_k3"], keep_ratios=[1.0], skip_connections=False)
    by_block = {"stage1.layer0": "stage1.block0", "stage1.layer1": "stage1.block1"}
    for named, network in drawn(space, 40):
        for layer, block in by_block.items():
            found = {n.bits for n in network.layers if n.block == block and n.op in WEIGHTED}
            assert found == {named[f"{layer}.bits"]}


def test_one_kind_of_bits_needs_no_decision() -> None:
    assert [d.name for d in make(bits=[32, 8]).decisions if "bits" in d.name] == []
    only = make(bits=[4])
    assert only.decisions == make().decisions
    network = only.resolve(only.sample(np.random.default_rng(0)))
    assert network.is_int8
    assert bits_of(network, layers_only=True) <= {4, 8}


def test_digests_differ_by_bits() -> None:
    space = make(bits=[32, 8], operations=["conv_k3"], keep_ratios=[1.0])
    network = space.resolve(space.sample(np.random.default_rng(0)))
    assert network.with_bits(8).digest != network.with_bits(32).digest
    assert network.with_bits(8).with_bits(32).digest == network.with_bits(32).digest


@pytest.mark.parametrize("bits", [[], [16], [1], [8, 8], [32.5]])
def test_other_bits_are_refused(bits: list[float]) -> None:
    with pytest.raises(ValidationError, match="bits"):
        make(bits=bits)
