"""1×1 convolutions with a stride: torch's own would end the process, so ours goes another way to the same numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from archspace import INPUT, Layer, Network, Shape
from child_models import build_module


def _network(channels_in: int, channels_out: int, pixels: int, groups: int = 1) -> Network:
    conv = Layer(
        name="n0",
        op="conv",
        inputs=(INPUT,),
        in_channels=channels_in,
        out_channels=channels_out,
        kernel=1,
        stride=2,
        groups=groups,
        bias=True,
        block="stem",
    )
    return Network(
        input_shape=Shape(channels_in, pixels, pixels),
        num_classes=channels_out,
        layers=(conv,),
        output="n0",
    )


@pytest.mark.parametrize("pixels", [7, 8])
@pytest.mark.parametrize("groups", [1, 2])
def test_equals_torchs_own(pixels: int, groups: int) -> None:
    module = build_module(_network(4, 6, pixels, groups)).double()
    own = module.get_submodule("layers.n0.conv")
    assert isinstance(own, nn.Conv2d)
    peer = nn.Conv2d(4, 6, 1, stride=2, groups=groups).double()
    peer.load_state_dict(own.state_dict())
    ours = torch.randn(3, 4, pixels, pixels, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    (out,), expected = module(ours), peer(theirs)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(expected)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(own.weight.grad, peer.weight.grad)
    torch.testing.assert_close(own.bias.grad, peer.bias.grad)


_CHILD = """
import torch
from tests.child_models.test_strided_pointwise import _network
from child_models import build_module
torch.set_num_threads(1)
for channels_in, channels_out in ((4, 8), (8, 16), (12, 16)):
    module = build_module(_network(channels_in, channels_out, 48)).to(memory_format=torch.channels_last)
    x = torch.randn(64, channels_in, 48, 48).to(memory_format=torch.channels_last).requires_grad_()
    for _ in range(5):
        module(x)[0].sum().backward()
"""


@pytest.mark.slow
def test_narrow_ones_on_large_maps_train_in_channels_last() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
