from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import pytest
import torch
from torch import nn

from archspace import Network
from child_models import build_module, count_macs, count_params, layer_counts


def test_counts_worked_out_by_hand(residual_network: Network) -> None:
    # 1×8×8 → stem 8×8×8 → stride 2 → 12×4×4
    params = {
        "n0": 8 * 1 * 9 + 2 * 8,  # stem 3×3 and BatchNorm
        "n2": 8 * 10 + 10,  # exit
        "n3": 8 * 1 * 9 + 2 * 8,  # depthwise 3×3 and BatchNorm
        "n4": 8 * 12 + 2 * 12,  # 1×1 and BatchNorm
        "n5": 8 * 12 + 12,  # projection with bias
        "n8": 12 * 10 + 10,
    }
    macs = {
        "n0": 64 * 8 * 9,
        "n2": 80,
        "n3": 16 * 8 * 9,
        "n4": 16 * 12 * 8,
        "n5": 16 * 12 * 8,
        "n8": 120,
    }
    for count in layer_counts(residual_network):
        assert count.params == params.get(count.name, 0)
        assert count.macs == macs.get(count.name, 0)
    assert count_params(residual_network) == 88 + 90 + 88 + 120 + 108 + 130 == 624
    assert count_macs(residual_network) == 4608 + 80 + 1152 + 1536 + 1536 + 120 == 9032


def test_bytes_worked_out_by_hand(residual_network: Network) -> None:
    counts = {count.name: count for count in layer_counts(residual_network)}
    assert counts["n0"][3:] == (4 * 64, 4 * 8 * 64, 4 * 88)
    # the sum reads two 12×4×4 maps and writes one
    assert counts["n6"][3:] == (2 * 4 * 192, 4 * 192, 0)
    assert counts["n7"][3:] == (4 * 192, 4 * 12, 0)
    assert counts["n8"][3:] == (4 * 12, 4 * 10, 4 * 130)


@pytest.mark.parametrize("seed", range(12))
def test_counts_agree_with_torch(random_network: Callable[[int], Network], seed: int) -> None:
    network = random_network(seed)
    module = build_module(network).eval()
    assert count_params(network) == sum(p.numel() for p in module.parameters())
    macs = 0

    def count(part: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal macs
        per_output = prod(part.weight.shape[1:])  # of one output number
        macs += output[0].numel() * per_output

    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_hook(count)
    with torch.no_grad():
        module(torch.zeros(1, *network.input_shape))
    assert count_macs(network) == macs


def test_layers_that_do_not_fit_are_named(residual_network: Network) -> None:
    layers = tuple(
        replace(layer, in_channels=7) if layer.name == "n4" else layer
        for layer in residual_network.layers
    )
    with pytest.raises(ValueError, match="n4: expects 7 channels, gets 8"):
        count_macs(replace(residual_network, layers=layers))
