"""Which layers are compared, and that catching their maps changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from archspace import Network, Shape
from child_models import build_module
from compress import PairError
from compress.distillation.features import (
    Adapters,
    Capture,
    Pair,
    embedding_layer,
    paired_layers,
)

MakeNetwork = Callable[..., Network]


def test_the_last_layers_of_common_resolutions_are_paired(make_network: MakeNetwork) -> None:
    student, teacher = make_network(4, exits=True), make_network(16)
    # the stem and the first stage have 8×8 maps, the second stage 4×4
    pairs = paired_layers(student, teacher)
    assert [pair.student_shape for pair in pairs] == [(4, 8, 8), (8, 4, 4)]
    assert [pair.teacher_shape for pair in pairs] == [(16, 8, 8), (32, 4, 4)]
    assert all(pair.has_places for pair in pairs)
    positions = [[layer.name for layer in student.layers].index(p.student) for p in pairs]
    assert [student.layers[i].op for i in positions] == ["conv", "conv"]
    assert positions == [1, 4]  # not the stem; the exit's layers stand between


def test_named_layers_are_paired_whatever_their_size(make_network: MakeNetwork) -> None:
    student, teacher = make_network(4), make_network(16)
    (pair,) = paired_layers(student, teacher, {"n0": "n2"})
    assert (pair.student, pair.teacher) == ("n0", "n2")
    assert (pair.student_shape, pair.teacher_shape) == ((4, 8, 8), (32, 4, 4))


def test_no_common_resolution_and_unknown_names_are_errors(make_network: MakeNetwork) -> None:
    student, teacher = make_network(4), make_network(16)
    with pytest.raises(PairError, match="the student has no layer 'conv1'; its layers are n0, n1"):
        paired_layers(student, teacher, {"conv1": "n0"})
    with pytest.raises(PairError, match="the teacher has no layer 'n99'"):
        paired_layers(student, teacher, {"n0": "n99"})
    halved = make_network(4, stem_stride=2)  # 4×4 and 2×2
    assert len(paired_layers(halved, teacher)) == 1
    quarter = paired_layers(halved, teacher)[0]
    assert quarter.student_shape[1:] == quarter.teacher_shape[1:] == (4, 4)


def test_networks_without_a_common_resolution(make_network: MakeNetwork) -> None:
    student = make_network(4)
    other = replace(make_network(16), input_shape=Shape(1, 9, 9))
    with pytest.raises(PairError, match=r"no resolution is common to student \(8×8, 4×4\)"):
        paired_layers(student, other)


def test_the_embedding_is_what_the_final_layer_reads(make_network: MakeNetwork) -> None:
    network = make_network(4, exits=True)
    head = next(layer for layer in network.layers if layer.name == network.output)
    assert embedding_layer(network) == head.inputs[0]
    assert network.shapes[embedding_layer(network)] == (8, 1, 1)


def test_capturing_changes_nothing_and_ends(make_network: MakeNetwork) -> None:
    network = make_network(4, exits=True)
    module = build_module(network).eval()
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = module(images)
    capture = Capture(module, ["n1", network.output])
    after = module(images)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    maps = capture.take()
    assert maps["n1"].shape == (3, 4, 8, 8)
    assert torch.equal(
        maps[network.output].flatten(1), before[-1]
    )  # a vector is a map of one pixel
    assert maps["n1"].requires_grad
    assert capture.take() == {}
    capture.close()
    module(images)
    assert capture.take() == {}
    assert not any(layer._forward_hooks for layer in module.modules())


def test_a_map_that_was_changed_by_an_earlier_hook_is_the_changed_one(
    make_network: MakeNetwork,
) -> None:
    module = build_module(make_network(4)).eval()
    module.layers["n1"].register_forward_hook(lambda _m, _i, output: output.round())
    capture = Capture(module, ["n1"])
    module(torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    caught = capture.take()["n1"]
    assert torch.equal(caught, caught.round())
    assert float(caught.detach().abs().max()) >= 1


def test_half_precision_maps_are_compared_in_float32(make_network: MakeNetwork) -> None:
    module = build_module(make_network(4))
    capture = Capture(module, ["n1"])
    with torch.autocast("cpu", torch.bfloat16):
        module(torch.zeros(3, 1, 8, 8))
    assert capture.take()["n1"].dtype == torch.float32
    double = module.double()
    double(torch.zeros(3, 1, 8, 8, dtype=torch.float64))
    assert capture.take()["n1"].dtype == torch.float64


def test_adapters_give_the_teachers_channels_and_can_be_fitted(make_network: MakeNetwork) -> None:
    pair = Pair("a", "b", Shape(3, 4, 4), Shape(5, 2, 2))
    adapters = Adapters([pair], seed=0)
    student = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    adapted, teacher = adapters.adapted(0, student, torch.zeros(6, 5, 2, 2))
    assert adapted.shape == teacher.shape == (6, 5, 2, 2)
    # resizing first or last is the same
    last = torch.nn.functional.adaptive_avg_pool2d(adapters.convolutions[0](student), 2)
    assert torch.allclose(adapted, last, atol=1e-6)


def test_adapters_start_from_their_seed_alone() -> None:
    pair = Pair("a", "b", Shape(3, 4, 4), Shape(5, 4, 4))
    torch.manual_seed(1)
    first = Adapters([pair], seed=7)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second, other = Adapters([pair], seed=7), Adapters([pair], seed=8)
    torch.manual_seed(1)
    Adapters([pair], seed=7)
    assert torch.equal(first.convolutions[0].weight, second.convolutions[0].weight)
    assert not torch.equal(first.convolutions[0].weight, other.convolutions[0].weight)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
