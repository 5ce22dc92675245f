"""Which of a space's networks and blocks a profile measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from archspace import INPUT, Block, Layer, Network, SearchSpace, Shape
from child_models import count_macs
from latency_models.features import block_digest, layer_kinds
from latency_models.measuring import reference_network

_TRIES = 8
_CANDIDATES = 3
_MOST_CANDIDATES = 2000
_LEAST_EACH = 8
_REFERENCES_DRAWN = 32
_REFERENCE_QUANTILES = (0.1, 0.35, 0.65, 0.9)  # of the drawn networks' multiply-accumulates


@dataclass(frozen=True, slots=True)
class ProfileNetworks:
    """Distinct networks of a space. No held-out network is among the candidates for fitting."""

    held_out: list[Network]
    candidates: list[Network]


def profile_networks(
    space: SearchSpace,
    num_networks: int,
    num_held_out: int,
    rng: np.random.Generator,
    may_go_on: Callable[[], bool] = lambda: True,
) -> ProfileNetworks:
    """Held-out networks as `space.sample` draws them; candidates likewise, the space's extremes first.

    Sampling ends early, but with enough for a small profile, when `may_go_on` says no.

    Raises:
        ValueError: the space has fewer than 16 distinct networks.
    """
    wanted = num_held_out + min(_MOST_CANDIDATES, _CANDIDATES * num_networks)
    sampled: dict[str, Network] = {}
    for _ in range(_TRIES * wanted):
        network = space.resolve(space.sample(rng))
        sampled.setdefault(network.digest, network)
        if len(sampled) == wanted or (len(sampled) >= 4 * _LEAST_EACH and not may_go_on()):
            break
    if len(sampled) < 2 * _LEAST_EACH:
        raise ValueError(
            f"the search space has too few networks to learn costs from: expected at least {2 * _LEAST_EACH} "
            f"distinct ones, got {len(sampled)}; allow more operations, layers or keep ratios"
        )
    networks = list(sampled.values())
    num_held_out = min(num_held_out, max(_LEAST_EACH, len(networks) // 3))
    held_out, candidates = networks[:num_held_out], networks[num_held_out:]
    known = {network.digest for network in networks}
    extremes = {n.digest: n for n in _extremes(space) if n.digest not in known}
    return ProfileNetworks(held_out, [*extremes.values(), *candidates])


def _extremes(space: SearchSpace) -> list[Network]:
    """Fewest and most multiply-accumulates; fewest and most layers."""
    costs: tuple[Callable[[Block], float], ...] = (
        _macs,
        lambda block: -_macs(block),
        lambda block: float(len(block.layers)),
        lambda block: -float(len(block.layers)),
    )
    return [space.resolve(space.cheapest(cost)) for cost in costs]


def _macs(block: Block) -> float:
    return float(count_macs(block.as_network()))


def reference_networks(space: SearchSpace) -> list[Network]:
    """What networks of `space` are compared with while they are measured, the same in every profile of it.

    `reference_network` and up to four of the space's own, small to large.
    """
    rng = np.random.default_rng(0)
    drawn = sorted(
        (space.resolve(space.sample(rng)) for _ in range(_REFERENCES_DRAWN)), key=count_macs
    )
    own = [drawn[int(quantile * (len(drawn) - 1))] for quantile in _REFERENCE_QUANTILES]
    return [reference_network(), *{network.digest: network for network in own}.values()]


def blocks_to_measure(space: SearchSpace, networks: Sequence[Network]) -> list[Block]:
    """All distinct blocks of `space`, the most useful first.

    At first one of each kind of layer, so that every kind is measured however short the time is; then the
    most frequent of `networks`; then those that `networks` do not hold.
    """
    blocks: dict[str, Block] = {}
    counts: Counter[str] = Counter()
    for network in networks:
        for block in network.blocks:
            digest = block_digest(block)
            blocks.setdefault(digest, block)
            counts[digest] += 1
    for block in _all_blocks(space):
        blocks.setdefault(block_digest(block), block)
    ordered = sorted(blocks, key=lambda digest: -counts[digest])  # stable
    first: dict[str, str] = {}
    for digest in ordered:
        for kind in layer_kinds(blocks[digest]):
            first.setdefault(kind, digest)
    return [blocks[digest] for digest in dict.fromkeys([*first.values(), *ordered])]


def _all_blocks(space: SearchSpace) -> list[Block]:
    """Every block that some network of the space holds: the exact minimum must ask for each one's cost."""
    seen: list[Block] = []

    def record(block: Block) -> float:
        seen.append(block)
        return 0.0

    space.minimum_cost((), record)
    return seen


def spread_over_costs(
    networks: Sequence[Network], cost: Callable[[Network], float], count: int
) -> list[Network]:
    """`count` networks, in an order of which every beginning is spread well over the cost range.

    Cheapest and most expensive come first. Then, in turn, the next network as it was drawn, and the one nearest
    to the next of evenly spread costs (van der Corput's sequence in base 2), so that rare costs are seen too.
    """
    values = np.array([cost(network) for network in networks])
    left = dict.fromkeys(range(len(networks)))
    chosen: list[int] = []

    def take(index: int) -> None:
        if index in left:
            del left[index]
            chosen.append(index)

    take(int(values.argmin()))
    take(int(values.argmax()))
    low, high = float(values.min()), float(values.max())
    step = 0
    while left and len(chosen) < count:
        step += 1
        take(next(iter(left)))
        if left and len(chosen) < count:
            target = low + (high - low) * _van_der_corput(step)
            take(min(left, key=lambda i: abs(values[i] - target)))
    return [networks[i] for i in chosen[:count]]


def _van_der_corput(n: int) -> float:
    value, base = 0.0, 0.5
    while n:
        value += base * (n & 1)
        n >>= 1
        base /= 2
    return value


@cache
def call_network() -> Network:
    """Does next to nothing: what is left is the price of a call."""
    layer = Layer(
        name="relu", op="relu", inputs=(INPUT,), block="call", in_channels=1, out_channels=1
    )
    return Network(input_shape=Shape(1, 1, 1), num_classes=1, layers=(layer,), output=layer.name)
