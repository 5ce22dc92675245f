"""Which whole networks a profile measures for the correction, once blocks have been measured alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archspace import Network
from latency_models.active import informative_order
from latency_models.additive import AdditiveTable
from latency_models.correction import DEVIATION_STD, BlockDesign
from latency_models.sampling import spread_over_costs

MOST_CHOSEN = 128
"""Networks chosen by what they teach; beyond so many, others do as well."""
_FIRST = 16
_FEATURE_STD = 0.1  # how far a sort of layer may be off, as a share of a usual network's latency
_NOISE_STD = 0.02  # of one measurement, relative


def networks_to_fit(networks: Sequence[Network], table: AdditiveTable, count: int) -> list[Network]:
    """`count` of `networks`, in an order of which every beginning teaches the correction much.

    A few spread over the range of costs come first. Then those that lower the model's own uncertainty most, over the
    deviations of single blocks and the costs of the sorts of layers, as `correction` believes of them before anything is
    measured. At last, others spread over the costs.
    """
    design = BlockDesign.of(table, networks)
    costs = design.totals[:, 1]
    numbers = {network.digest: i for i, network in enumerate(networks)}
    by_digest = {n.digest: float(cost) for n, cost in zip(networks, costs, strict=True)}
    spread = spread_over_costs(networks, lambda network: by_digest[network.digest], count)
    order = [numbers[network.digest] for network in spread]
    chosen = informative_order(
        _relative_design(design, table.call_ms),
        min(count, MOST_CHOSEN, len(networks)),
        _NOISE_STD**2,
        first=order[:_FIRST],
    )
    return [networks[i] for i in list(dict.fromkeys([*chosen, *order]))[:count]]


def _relative_design(design: BlockDesign, call_ms: float) -> NDArray[np.float64]:
    """(networks, blocks + features): how much each unknown moves a network's latency, as a share of it."""
    totals = design.totals
    times = totals[:, 1] + call_ms
    shares = DEVIATION_STD * design.counts * design.blocks[:, 1] / times[:, None]
    features = totals / times[:, None]
    usual = np.sqrt(np.mean(features**2, axis=0))
    features = _FEATURE_STD * features / np.where(usual > 0, usual, 1.0)
    return np.concatenate([shares, features], axis=1)
