"""Whether a child's convolutions train in bfloat16: decided from the network and the processor, never by timing.

Timing would let two runs of one seed differ. Measured on a Xeon with AVX-512 BF16 and AMX, one thread, batch 64,
channels-last, 60 networks (time in fp32 / time in bf16): with a depthwise convolution 0.3-0.9 (1.3 once), else
1.1-2.8 where the two thresholds below hold, 0.7-1.1 where they do not.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch

from archspace import Layer, Network
from child_models.counts import count_macs

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

LEAST_MACS_A_NUMBER = 40
"""Multiply-accumulates for each number that a convolution writes; below, memory decides, not arithmetic."""
LEAST_NUMBERS = 15_000
"""Numbers that all convolutions write for one image; below, overheads decide."""


def chosen_precision(
    setting: Literal["auto"] | Precision, network: Network, device: str = "cpu"
) -> Precision:
    """`setting`, with "auto" decided.

    On a CPU bf16 if the processor computes in it and it pays for `network`; on a GPU bf16 where it has it, else fp16.

    Args:
        device: as torch names it, "cpu" or "cuda".

    Raises:
        ValueError: fp16 on a CPU, where it is ten times slower than fp32.
    """
    on_cpu = torch.device(device).type == "cpu"
    if on_cpu and setting == "fp16":
        raise ValueError('precision "fp16" needs a GPU; on a CPU use "bf16", "fp32" or "auto"')
    if setting != "auto":
        return setting
    if not on_cpu:
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if cpu_has_bf16() and bf16_pays(network) else "fp32"


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself (AVX-512 BF16 or AMX); else they are emulated."""
    # torch before 2.10 does not tell: fp32 then, which is always right
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def bf16_pays(network: Network) -> bool:
    """Whether `network` trains faster in bfloat16 on a processor that has it."""
    convolutions = [layer for layer in network.layers if layer.op == "conv"]
    if any(_is_depthwise(layer) for layer in convolutions):
        return False
    numbers = sum(prod(network.shapes[layer.name]) for layer in convolutions)
    return numbers >= LEAST_NUMBERS and count_macs(network) >= LEAST_MACS_A_NUMBER * numbers


def _is_depthwise(layer: Layer) -> bool:
    return 1 < layer.groups == layer.in_channels
