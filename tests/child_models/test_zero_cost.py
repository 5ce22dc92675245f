"""The benchmark `benchmarks/zero_cost_proxies.py`: its proxies against closed forms."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archspace import INPUT, Layer, NasBench201Space, Network, Shape
from child_models import build_module

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def zero_cost() -> Iterator[Any]:
    """The script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("zero_cost")


def conv(name: str, source: str, channels: tuple[int, int], **fields: object) -> Layer:
    inside, outside = channels
    return Layer(  # type: ignore[arg-type]
        name=name,
        op="conv",
        inputs=(source,),
        block="b",
        in_channels=inside,
        out_channels=outside,
        **fields,
    )


def classifier(*layers: Layer, shape: Shape, classes: int = 2) -> Network:
    """`layers`, global pooling, a linear layer."""
    channels = layers[-1].out_channels
    pool = Layer(
        name="pool",
        op="global_avg_pool",
        inputs=(layers[-1].name,),
        block="h",
        in_channels=channels,
        out_channels=channels,
    )
    head = Layer(
        name="head",
        op="linear",
        inputs=("pool",),
        block="h",
        in_channels=channels,
        out_channels=classes,
    )
    return Network(
        input_shape=shape, num_classes=classes, layers=(*layers, pool, head), output="head"
    )


def set_weights(module: torch.nn.Module, **weights: list[list[float]]) -> None:
    with torch.no_grad():
        for name, values in weights.items():
            parameter = module.get_parameter(name.replace("__", "."))
            parameter.copy_(torch.tensor(values).reshape(parameter.shape))


W1 = [[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]]
W2 = [[2.0, -1.0, 4.0], [-0.5, 1.0, 1.0]]
FLOW = float((np.abs(W2) @ np.abs(W1)).sum())


@pytest.mark.parametrize("norm", [False, True])
def test_synflow_of_two_layers_is_twice_their_flow(norm: bool, zero_cost: Any) -> None:
    """Each layer of a bias-free linear network carries all of the output (Tanaka et al. 2020, theorem 2)."""
    network = classifier(
        conv("c", INPUT, (2, 3), norm=norm, activation="relu"), shape=Shape(2, 4, 4)
    )
    module = build_module(network)
    set_weights(module, layers__c__conv__weight=W1, layers__head__linear__weight=W2)
    set_weights(module, layers__head__linear__bias=[[5.0, -7.0]])  # carries nothing that weights do
    if norm:
        set_weights(module, layers__c__norm__weight=[[7.0, 7.0, -7.0]])
    assert zero_cost.synflow(module) == pytest.approx(math.log(2 * FLOW))


def test_synflow_does_not_overflow_where_single_precision_would(zero_cost: Any) -> None:
    sources = [INPUT, *(f"c{i}" for i in range(39))]
    layers = [
        conv(f"c{i}", source, (32, 32), kernel=3, padding=1) for i, source in enumerate(sources)
    ]
    network = classifier(*layers, shape=Shape(32, 4, 4))
    (score,) = zero_cost.proxy_scores(network, ["synflow"], torch.zeros(0), seed=0).values()
    assert math.log(torch.finfo(torch.float32).max) < score < math.log(1e300)


def test_naswot_of_two_images(zero_cost: Any) -> None:
    """3 ReLUs, on-off codes (1, 1, 0) and (1, 0, 0): K = [[3, 2], [2, 3]], |K| = 5."""
    network = classifier(conv("c", INPUT, (3, 3), activation="relu"), shape=Shape(3, 1, 1))
    module = build_module(network)
    set_weights(module, layers__c__conv__weight=np.eye(3).tolist())
    images = torch.tensor([[2.0, 1.0, -1.0], [1.0, -3.0, -1.0]]).reshape(2, 3, 1, 1)
    assert zero_cost.naswot(module, images) == pytest.approx(math.log(5))


def test_naswot_counts_relus_of_every_kind(zero_cost: Any) -> None:
    """After a convolution, after a sum, and as a layer: three times the codes of one layer, |K| = 9² · 5."""
    relu = Layer(name="r", op="relu", inputs=("c",), block="b", in_channels=3, out_channels=3)
    add = Layer(
        name="a",
        op="add",
        inputs=("r", "c"),
        block="b",
        in_channels=3,
        out_channels=3,
        activation="relu",
    )
    first = conv("c", INPUT, (3, 3), activation="relu")
    module = build_module(classifier(first, relu, add, shape=Shape(3, 1, 1)))
    set_weights(module, layers__c__conv__weight=np.eye(3).tolist())
    images = torch.tensor([[2.0, 1.0, -1.0], [1.0, -3.0, -1.0]]).reshape(2, 3, 1, 1)
    assert zero_cost.naswot(module, images) == pytest.approx(math.log(9 * 5))


def test_log_determinant(zero_cost: Any) -> None:
    assert zero_cost.log_determinant(torch.diag(torch.tensor([2.0, 8.0]))) == pytest.approx(
        math.log(16)
    )
    assert zero_cost.log_determinant(torch.ones(2, 2)) == -math.inf


@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.9])
def test_jacobian_score_of_two_rows(correlation: float, zero_cost: Any) -> None:
    """Eigenvalues are 1 ± ρ."""
    a, b = torch.tensor([[1.0, -1, 1, -1], [1.0, 1, -1, -1]], dtype=torch.float64)
    rows = torch.stack([a, 3 * (correlation * a + math.sqrt(1 - correlation**2) * b) + 2])
    values = np.array([1 + correlation, 1 - correlation]) + 1e-5
    assert zero_cost.row_correlation_score(rows) == pytest.approx(
        -(np.log(values) + 1 / values).sum()
    )


def test_a_linear_network_reacts_to_all_images_alike(zero_cost: Any) -> None:
    """One eigenvalue is the batch, the others are 0."""
    network = classifier(conv("c", INPUT, (2, 3)), shape=Shape(2, 1, 1))
    images = torch.randn((4, 2, 1, 1), generator=torch.Generator().manual_seed(0))
    k = 1e-5
    expected = -(math.log(4 + k) + 1 / (4 + k) + 3 * (math.log(k) + 1 / k))
    assert zero_cost.jacobian_covariance(build_module(network), images) == pytest.approx(
        expected, rel=1e-6
    )


def test_what_a_proxy_cannot_say_is_missing(zero_cost: Any) -> None:
    images = torch.randn((4, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    no_relu = classifier(conv("c", INPUT, (1, 2)), shape=Shape(1, 4, 4))
    scores = zero_cost.proxy_scores(no_relu, zero_cost.PROXIES, images, seed=0)
    assert math.isfinite(scores["synflow"])
    assert math.isnan(scores["naswot"])
    assert math.isnan(scores["jacobian_covariance"])  # the same at every pixel


def test_a_cell_that_passes_nothing_on_has_no_flow(zero_cost: Any) -> None:
    space = NasBench201Space()
    images = torch.randn((4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    scores = zero_cost.proxy_scores(space.resolve((0,) * 6), zero_cost.PROXIES, images, seed=0)
    assert all(map(math.isnan, scores.values()))


def test_early_exits_do_not_count(residual_network: Network, zero_cost: Any) -> None:
    alone = zero_cost.without_exits(residual_network)
    assert alone.exits == ()
    assert (
        len(alone.layers) == len(residual_network.layers) - 2
    )  # the exit's pooling and linear layer
    images = torch.randn((6, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    scores = zero_cost.proxy_scores(residual_network, zero_cost.PROXIES, images, seed=3)
    assert scores == zero_cost.proxy_scores(alone, zero_cost.PROXIES, images, seed=3)
    assert all(map(math.isfinite, scores.values()))


@pytest.mark.parametrize("seed", range(6))
def test_any_network_has_scores_or_missing_values(
    random_network: Callable[[int], Network], seed: int, zero_cost: Any
) -> None:
    network = random_network(seed)
    images = torch.randn((8, *network.input_shape), generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    scores = zero_cost.proxy_scores(network, zero_cost.PROXIES, images, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert set(scores) == set(zero_cost.PROXIES)
    assert not any(map(math.isinf, scores.values()))
    assert str(scores) == str(zero_cost.proxy_scores(network, zero_cost.PROXIES, images, seed=1))
