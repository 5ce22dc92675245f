"""Which network of a search's front meets which peer: decided before any of them is trained at the full schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headline_records import Chosen
from mobilenet import MobileNet, scaled_to

from archspace import Network
from child_models import count_params

Named = tuple[str, Network]
LEAST_RATIO = 1.25
"""How many times faster than its peer a found network must be: the aim of 1.2 and what timing it again may differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One network of a search's front. `accuracy` is the search's: validation, short schedule, no exit taken."""

    network: Network
    accuracy: float


def equal_peer(peer: MobileNet, network: Network) -> Named:
    """`peer` with as many parameters as `network` (± 5 %), for the same images and classes."""
    shape, classes = network.input_shape, network.num_classes
    params = count_params(network)
    return peer.name, scaled_to(peer, params, input_shape=shape, num_classes=classes)


def choose(
    candidates: Sequence[Candidate], peer: MobileNet, ratios: Sequence[float], *, search: int
) -> Chosen:
    """The candidate most accurate in the search, of those `LEAST_RATIO` times faster than the peer of their size.

    Where none is, the one that comes closest.

    Args:
        candidates: at least one.
        ratios: latency of `equal_peer(peer, candidate)` over the candidate's, no exit taken.
        search: number of the search.
    """
    rated = list(zip(candidates, ratios, strict=True))
    fast = [(c, ratio) for c, ratio in rated if ratio >= LEAST_RATIO]
    chosen, ratio = (
        max(fast, key=lambda pair: (pair[0].accuracy, pair[1]))
        if fast
        else max(rated, key=lambda pair: pair[1])
    )
    return Chosen(
        search=search,
        peer=peer.name,
        digest=chosen.network.digest,
        ratio=ratio,
        passed=bool(fast),
    )
