"""Scores against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from archspace import Network, Shape
from child_models import Dataset
from child_models.scoring import loaded_module
from compress import TrainedModel
from compress.pruning.config import Method
from compress.pruning.groups import ChannelGroup, channel_groups
from compress.pruning.importance.base import batches_of, mean_loss
from compress.pruning.importance.fisher import fisher_diagonal
from compress.pruning.importance.hutchinson import hessian_diagonal
from compress.pruning.scored import METHODS
from tests.compress.pruning.pruning_networks import layer

KERNELS = {"stem": "layers.stem.conv.weight", "last": "layers.last.conv.weight"}


def scores(method: Method, model: TrainedModel, dataset: Dataset) -> list[np.ndarray]:
    groups = channel_groups(model.network)
    return METHODS[method](model, groups, dataset, images=96, seed=3)


def test_magnitudes_are_joint_norms(mixed: TrainedModel, digits: Dataset) -> None:
    names = [f"layers.{name}.conv.weight" for name in ("stem", "point", "deep")]
    flat = np.concatenate([mixed.weights[name].reshape(16, -1) for name in names], axis=1)
    np.testing.assert_allclose(scores("l1", mixed, digits)[0], np.abs(flat).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        scores("l2", mixed, digits)[0], np.linalg.norm(flat, axis=1), rtol=1e-5
    )


def test_activation_is_the_mean_of_what_is_read(mixed: TrainedModel, digits: Dataset) -> None:
    module = loaded_module(mixed.network, mixed.weights)
    seen: list[torch.Tensor] = []
    module.layers["last"].register_forward_pre_hook(lambda _m, x: seen.append(x[0].clone()))
    for images, _ in batches_of(digits, 96, 3):
        module(images)
    expected = torch.cat(seen).abs().mean(dim=(0, 2, 3)).detach().numpy()
    np.testing.assert_allclose(scores("activation", mixed, digits)[2], expected, rtol=1e-4)


def test_taylor_sums_before_it_squares(mixed: TrainedModel, digits: Dataset) -> None:
    module = loaded_module(mixed.network, mixed.weights)
    weight = dict(module.named_parameters())[KERNELS["last"]]
    squares = []
    for images, labels in batches_of(digits, 96, 3):
        (gradient,) = torch.autograd.grad(mean_loss(module(images), labels), weight)
        squares.append((gradient * weight).detach().sum(dim=(1, 2, 3)).numpy() ** 2)
    np.testing.assert_allclose(
        scores("taylor", mixed, digits)[3], np.mean(squares, axis=0), rtol=1e-3, atol=1e-12
    )


def test_fisher_is_of_single_images(mixed: TrainedModel, digits: Dataset) -> None:
    module = loaded_module(mixed.network, mixed.weights)
    weight = dict(module.named_parameters())[KERNELS["stem"]]
    batches = list(batches_of(digits, 20, 3))
    total = torch.zeros_like(weight)
    for images, labels in batches:
        for image, label in zip(images, labels, strict=True):
            loss = mean_loss(module(image[None]), label[None])
            total += torch.autograd.grad(loss, weight)[0] ** 2
    found = fisher_diagonal(module, [KERNELS["stem"]], batches)[KERNELS["stem"]]
    np.testing.assert_allclose(found.numpy(), (total / 20).numpy(), rtol=1e-3, atol=1e-9)
    gradient = torch.autograd.grad(mean_loss(module(batches[0][0]), batches[0][1]), weight)[0]
    assert found.sum() > 1.5 * gradient.square().sum(), "not the square of a batch's gradient"


def test_hutchinson_finds_a_known_diagonal() -> None:
    torch.manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64)
    hessian = root @ root.T
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    batch = (torch.zeros(1), torch.zeros(1))
    (diagonal,) = hessian_diagonal(
        [w], lambda _x, _y: 0.5 * w @ hessian @ w, [batch], probes=4000, seed=0
    )
    np.testing.assert_allclose(diagonal.numpy(), hessian.diagonal().numpy(), rtol=0.12)
    # a diagonal Hessian is found by a single probe, exactly
    scale = torch.arange(1.0, 7.0, dtype=torch.float64)
    (exact,) = hessian_diagonal(
        [w], lambda _x, _y: 0.5 * (scale * w * w).sum(), [batch], probes=1, seed=0
    )
    np.testing.assert_allclose(exact.numpy(), scale.numpy())


@pytest.mark.parametrize("method", ["l1", "l2", "activation", "taylor", "fisher"])
def test_a_channel_that_does_nothing_scores_lowest(digits: Dataset, method: Method) -> None:
    network = Network(
        input_shape=Shape(1, 8, 8),
        num_classes=10,
        output="logits",
        layers=(
            layer(
                "conv", "conv", "input", (1, 4), kernel=3, padding=1, bias=True, activation="relu"
            ),
            layer("pool", "global_avg_pool", "conv", (4, 4)),
            layer("logits", "linear", "pool", (4, 10)),
        ),
    )
    rng = np.random.default_rng(0)
    weights = {
        "layers.conv.conv.weight": rng.normal(0, 1, (4, 1, 3, 3)),
        "layers.conv.conv.bias": np.ones(4),
        "layers.logits.linear.weight": rng.normal(0, 1, (10, 4)),
        "layers.logits.linear.bias": np.zeros(10),
    }
    weights["layers.conv.conv.weight"][2] = 0
    weights["layers.conv.conv.bias"][2] = 0
    weights["layers.logits.linear.weight"][:, 2] = 0
    (found,) = scores(method, TrainedModel.of(network, weights), digits)
    assert found.argmin() == 2
    assert found[2] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", list(METHODS))
def test_scores_repeat_and_are_not_negative(
    mixed: TrainedModel, digits: Dataset, method: Method
) -> None:
    first, again = scores(method, mixed, digits), scores(method, mixed, digits)
    groups: tuple[ChannelGroup, ...] = channel_groups(mixed.network)
    for group, a, b in zip(groups, first, again, strict=True):
        assert a.shape == (group.size,)
        assert (a >= 0).all()
        np.testing.assert_array_equal(a, b)


def test_loss_is_the_mean_over_heads(mixed: TrainedModel, digits: Dataset) -> None:
    images, labels = next(batches_of(digits, 8, 0))
    heads = loaded_module(mixed.network, mixed.weights)(images)
    expected = (F.cross_entropy(heads[0], labels) + F.cross_entropy(heads[1], labels)) / 2
    assert torch.allclose(mean_loss(heads, labels), expected)
