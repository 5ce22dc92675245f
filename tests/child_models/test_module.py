from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import child_models
from archspace import INPUT, Exit, Network
from child_models import UnbuildableNetwork, build_module, weight_shapes


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Give everything, running statistics included, values that no two layers share."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.5)


def test_forward_equals_the_same_network_written_out(residual_network: Network) -> None:
    module = build_module(residual_network)
    randomise(module)
    module.eval()
    w = module.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            w[f"layers.{name}.norm.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = torch.randn(3, 1, 8, 8)
    stem = norm(F.conv2d(x, w["layers.n0.conv.weight"], padding=1), "n0").clamp(min=0)
    early = stem.mean((2, 3)) @ w["layers.n2.linear.weight"].T + w["layers.n2.linear.bias"]
    deep = F.conv2d(stem, w["layers.n3.conv.weight"], stride=2, padding=1, groups=8)
    deep = norm(F.conv2d(norm(deep, "n3").clamp(min=0), w["layers.n4.conv.weight"]), "n4")
    skip = F.conv2d(stem, w["layers.n5.conv.weight"], w["layers.n5.conv.bias"], stride=2)
    last = (deep + skip).clamp(min=0).mean((2, 3))
    final = last @ w["layers.n8.linear.weight"].T + w["layers.n8.linear.bias"]

    with torch.no_grad():
        exit_logits, logits = module(x)
    assert exit_logits.shape == logits.shape == (3, 10)
    torch.testing.assert_close(exit_logits, early, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, final, atol=1e-5, rtol=1e-5)


def test_padded_cells_are_not_averaged(cell_network: Network) -> None:
    (pool,) = (layer for layer in cell_network.layers if layer.op == "avg_pool" and layer.padding)
    alone = replace(
        cell_network,
        input_shape=cell_network.shapes[pool.inputs[0]],
        layers=(replace(pool, inputs=(INPUT,)),),
        output=pool.name,
    )
    ones = torch.ones(1, *alone.input_shape)
    torch.testing.assert_close(build_module(alone)(ones)[0], ones)


def test_zeros_passes_nothing_on(cell_network: Network, with_layer: Callable[..., Network]) -> None:
    silent = with_layer(cell_network, "n6", op="zeros")  # the relu before the last convolution
    first, second = build_module(silent).eval()(torch.randn(2, 3, 9, 9))[0]
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("seed", range(6))
def test_state_dict_has_the_promised_names(
    random_network: Callable[[int], Network], seed: int
) -> None:
    network = random_network(seed)
    state = build_module(network).state_dict()
    shapes = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert shapes == weight_shapes(network)


def test_initialisation_comes_from_the_global_generator(residual_network: Network) -> None:
    torch.manual_seed(3)
    first = build_module(residual_network).state_dict()
    torch.manual_seed(3)
    second = build_module(residual_network).state_dict()
    third = build_module(residual_network).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.n0.conv.weight"], third["layers.n0.conv.weight"])


def test_convolutions_start_with_hes_variance(
    residual_network: Network, with_layer: Callable[..., Network]
) -> None:
    wide = with_layer(residual_network, "n3", out_channels=4096, groups=4)
    wide = replace(wide, layers=wide.layers[:4], output="n3", exits=())
    weight = build_module(wide).state_dict()["layers.n3.conv.weight"]
    # fan-in of a grouped 3×3 convolution: 8 / 4 channels times 9
    np.testing.assert_allclose(weight.std().item(), (2 / (2 * 9)) ** 0.5, rtol=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_every_parameter_that_matters_gets_a_gradient(
    random_network: Callable[[int], Network], seed: int
) -> None:
    network = random_network(seed)
    module = build_module(network)
    heads = module(torch.randn(4, *network.input_shape))
    torch.stack([head.square().mean() for head in heads]).sum().backward()
    reached = {INPUT} | set(network.heads)
    for layer in reversed(network.layers):
        if layer.name in reached:
            reached |= set(layer.inputs)
    for name, parameter in module.named_parameters():
        layer = name.split(".")[1]
        assert (parameter.grad is not None) == (layer in reached), name


@pytest.mark.parametrize("seed", range(4))
def test_channels_last_gives_the_same(random_network: Callable[[int], Network], seed: int) -> None:
    network = random_network(seed)
    module = build_module(network).eval()
    randomise(module)
    x = torch.randn(2, *network.input_shape)
    with torch.no_grad():
        expected = module(x)
        module.to(memory_format=torch.channels_last)
        found = module(x.to(memory_format=torch.channels_last))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_trains_under_bfloat16_autocast(residual_network: Network) -> None:
    torch.manual_seed(0)
    module = build_module(residual_network).to(memory_format=torch.channels_last)
    x = torch.randn(32, 1, 8, 8).to(memory_format=torch.channels_last)
    labels = (x.mean((1, 2, 3)) > 0).long()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", torch.bfloat16):
            heads = module(x)
        loss = torch.stack([F.cross_entropy(head.float(), labels) for head in heads]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_maps_are_freed_after_their_last_use(cell_network: Network) -> None:
    """While a late layer runs, no map lives that no later layer reads."""
    module = build_module(cell_network).eval()
    maps: dict[str, weakref.ref[Tensor]] = {}
    alive_at: dict[str, set[str]] = {}

    def watch(name: str) -> None:
        def after(part: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            alive_at[name] = {other for other, ref in maps.items() if ref() is not None}
            maps[name] = weakref.ref(output)

        module.layers[name].register_forward_hook(after)

    names = [layer.name for layer in cell_network.layers]
    for name in names:
        watch(name)
    with torch.no_grad():
        module(torch.randn(1, *cell_network.input_shape))
    for position, name in enumerate(names):
        needed = {s for layer in cell_network.layers[position:] for s in layer.inputs}
        assert alive_at[name] <= needed, name


def test_one_layer_may_be_two_heads_and_be_read_on(residual_network: Network) -> None:
    doubled = replace(residual_network, exits=(Exit(name="same", layer="n8"),))
    first, second = build_module(doubled).eval()(torch.randn(1, 1, 8, 8))
    assert torch.equal(first, second)


def test_a_copy_is_independent(residual_network: Network) -> None:
    module = build_module(residual_network).eval()
    twin = copy.deepcopy(module)
    x = torch.randn(1, 1, 8, 8)
    before = module(x)[1]
    randomise(twin)
    assert torch.equal(module(x)[1], before)
    assert not torch.equal(twin(x)[1], before)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("n4", {"bits": 9}, "n4: 9 bits; expected 32, or 2 to 8"),
        ("n1", {"bits": 8}, "n1: 8 bits; expected 32, or 2 to 8 for the weights of a conv"),
        ("n4", {"in_channels": 9}, "n4: expects 9 channels, gets 8"),
        ("n6", {"inputs": ("n4",)}, "n6: add cannot have 1 inputs"),
        ("n3", {"name": "a.b"}, "a.b: its name must be a plain identifier"),
        ("n3", {"name": "n0"}, "same name"),
        ("n8", {"inputs": ("n6",)}, "n8: a linear layer reads 1×1 maps"),
        ("n1", {"op": "relu", "out_channels": 4}, "n1: relu cannot turn 8 channels into 4"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(
    residual_network: Network,
    with_layer: Callable[..., Network],
    name: str,
    fields: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(UnbuildableNetwork, match=message):
        build_module(with_layer(residual_network, name, **fields))


def test_a_head_that_is_no_layer_is_refused(residual_network: Network) -> None:
    with pytest.raises(UnbuildableNetwork, match="n99"):
        build_module(replace(residual_network, output="n99"))


def test_public_names_are_sorted_and_there() -> None:
    assert child_models.__all__ == sorted(child_models.__all__)
    for name in child_models.__all__:
        assert getattr(child_models, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = child_models.nothing
