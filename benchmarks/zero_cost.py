"""Zero-cost proxies: numbers of an untrained network that may go along with its accuracy once trained.

`zero_cost_proxies.py` measures whether they help. They are no part of a search: see docs/surrogates.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from archspace import INPUT, Network
from child_models import ChildModule, build_module

ProxyName = Literal["synflow", "naswot", "jacobian_covariance"]
PROXIES: tuple[ProxyName, ...] = get_args(ProxyName)
_K = 1e-5


def proxy_scores(
    network: Network, proxies: Sequence[ProxyName], images: Tensor, seed: int
) -> dict[ProxyName, float]:
    """Each proxy of a freshly initialised `network`, early exits left out.

    Equal arguments give equal scores on one machine with one number of threads; torch's global generator is left as
    it was.

    Args:
        images: (batch, channels, height, width), normalised; synflow does not look at them.
        seed: of the initial weights, in [0, 2³²).

    Returns:
        NaN where a proxy fails or is not finite: a missing value.
    """
    found: dict[ProxyName, float] = {}
    for name in proxies:
        module = _new_module(without_exits(network), seed)
        try:
            score = _score(name, module, images)
        except RuntimeError:  # memory, or a decomposition that does not converge
            score = math.nan
        found[name] = score if math.isfinite(score) else math.nan
    return found


def _score(name: ProxyName, module: ChildModule, images: Tensor) -> float:
    match name:
        case "synflow":
            return synflow(module)
        case "naswot":
            return naswot(module, images)
        case "jacobian_covariance":
            return jacobian_covariance(module, images)


def without_exits(network: Network) -> Network:
    """The layers that the final head depends on, and no early exit."""
    needed = {network.output}
    for layer in reversed(network.layers):
        if layer.name in needed:
            needed.update(source for source in layer.inputs if source != INPUT)
    layers = tuple(layer for layer in network.layers if layer.name in needed)
    return replace(network, layers=layers, exits=())


def _new_module(network: Network, seed: int) -> ChildModule:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_module(network).train()


def synflow(module: ChildModule) -> float:
    """log Σ_w |w · ∂R/∂w| over the kernels of convolutions and linear layers.

    R is the sum of the final head's logits for an image of ones, all weights replaced by their absolute values and
    BatchNorm left out (Tanaka et al., NeurIPS 2020; summed over the network as in Abdelfattah et al., ICLR 2021). In
    double precision: R is a product over all layers and overflows single precision. The logarithm is ours: the sums
    of one space span many orders of magnitude.

    Returns:
        −inf where nothing reaches the output. `module` is changed: use it for nothing else.
    """
    _linearise(module)
    shape = module.network.input_shape
    output = module(torch.ones((1, *shape), dtype=torch.float64))[-1].sum()
    kernels = [weight for weight in module.parameters() if weight.ndim > 1]
    gradients = torch.autograd.grad(output, kernels, allow_unused=True)
    flow = sum(
        float((weight * gradient).detach().abs().sum())
        for weight, gradient in zip(kernels, gradients, strict=True)
        if gradient is not None
    )
    return math.log(flow) if flow > 0 else -math.inf


def _linearise(module: ChildModule) -> None:
    """Absolute weights, no BatchNorm, double precision. ReLUs do nothing then: everything is positive."""
    module.double()
    for layer in module.layers.values():
        if hasattr(layer, "norm"):
            layer.norm = nn.Identity()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()


def naswot(module: ChildModule, images: Tensor) -> float:
    """log |K| of K_ij = ReLUs that are on for both images or off for both.

    Mellor, Turner, Storkey and Crowley, "Neural architecture search without training", ICML 2021: number of ReLUs
    minus the Hamming distance of two images' codes. BatchNorm uses the batch's statistics.

    Args:
        module: freshly initialised, in training mode.
        images: (batch, channels, height, width), normalised.

    Returns:
        −inf where K is singular: no ReLU, or two images alike to all of them.
    """
    kernel = torch.zeros((len(images), len(images)), dtype=torch.float64)

    def count(_module: object, _inputs: object, output: Tensor) -> None:
        code = (output.detach() > 0).flatten(1).float()  # (batch, ReLUs of the layer)
        # up to 2²⁴ ReLUs a layer these counts are exact in single precision
        kernel.add_(code @ code.T + (1 - code) @ (1 - code).T)

    hooks = [
        module.layers[layer.name].register_forward_hook(count)
        for layer in module.network.layers
        if layer.op == "relu" or layer.activation == "relu"
    ]
    try:
        with torch.no_grad():
            module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return log_determinant(kernel)


def log_determinant(kernel: Tensor) -> float:
    """log |K| of a symmetric positive semidefinite matrix; −inf where it is singular."""
    sign, value = torch.linalg.slogdet(kernel)
    return float(value) if float(sign) > 0 else -math.inf


def jacobian_covariance(module: ChildModule, images: Tensor) -> float:
    """−Σ_i [log(λ_i + k) + 1 / (λ_i + k)] of the eigenvalues of the correlations between rows of the Jacobian, k = 1e-5.

    Row i is the derivative of the batch's summed logits (final head) by image i. Mellor et al. 2020 (arXiv
    2006.04647, first version), as `jacob_cov` in Abdelfattah et al., ICLR 2021.

    Args:
        module: freshly initialised, in training mode.
        images: (batch, channels, height, width), normalised; fewer than an image has numbers, else an eigenvalue
            is 0 whatever the network, and drowns the others.

    Returns:
        NaN where a row is constant, so that it correlates with nothing.
    """
    pixels = images.clone().requires_grad_(True)
    (rows,) = torch.autograd.grad(module(pixels)[-1].sum(), pixels)
    return row_correlation_score(rows.flatten(1).double())


def row_correlation_score(rows: Tensor) -> float:
    """The score of (batch, pixels) derivatives, float64."""
    correlations = torch.corrcoef(rows)
    if not correlations.isfinite().all():
        return math.nan
    eigenvalues = torch.linalg.eigvalsh(correlations).clamp_min(0.0)
    return float(-((eigenvalues + _K).log() + 1 / (eigenvalues + _K)).sum())
