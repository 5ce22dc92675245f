"""Lowers bits until a limit holds (as in HAQ, Wang et al. 2019, section 3.4), where it hurts least for what it saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from archspace import Network
from compress.quantisation.errors import BudgetUnreachable, QuantisationError
from compress.quantisation.plan import network_size_bytes
from compress.quantisation.sensitivity import Sensitivity

BitCost = Callable[[Mapping[str, int]], float]
"""Cost of the network at bits by layer: bytes, milliseconds or millijoules; fewer bits never cost more."""


def size_cost(network: Network) -> BitCost:
    """Packed bytes of `network`."""
    return lambda bits: float(network_size_bytes(network, bits))


def lower_bits(
    start: Mapping[str, int], table: Sequence[Sensitivity], cost: BitCost, limit: float
) -> dict[str, int]:
    """Bits by layer, from `start` down, whose cost is at most `limit`.

    Each step takes the layer with the least added divergence for each unit of cost saved, and the most bits that save anything
    there; equal ones in the order of `start`. A step that saves nothing is taken only where no single step saves.
    The last step may save more than is needed: what is left of the limit is given back, to the layers that gain most by it.

    Args:
        start: layers with bits, or 32; a layer that the table does not have stays as it is.
        table: from `sensitivity_table`.
        limit: in the unit of `cost`.

    Raises:
        BudgetUnreachable: the cost is above the limit with the fewest bits of the table everywhere.
        QuantisationError: `start` has bits, other than 32, that the table lacks.
    """
    divergence = {(row.layer, row.bits): row.kl for row in table}
    widths = {layer: sorted(b for name, b in divergence if name == layer) for layer in start}
    for layer, width in start.items():
        if widths[layer] and width != 32 and width not in widths[layer]:
            raise QuantisationError(
                f"layer {layer} starts at {width} bits; the table has {widths[layer]}"
            )
    bits = dict(start)
    now = cost(bits)
    while now > limit:
        step = _best_step(bits, widths, divergence, cost)
        if step is None:
            raise BudgetUnreachable(
                f"expected at most {limit:g}, but with the fewest bits everywhere it is {now:g}; raise the limit, "
                "prune first, or allow fewer bits"
            )
        bits[step[0]] = step[1]
        now = cost(bits)
    while (step := _best_return(bits, start, widths, divergence, cost, limit)) is not None:
        bits[step[0]] = step[1]
    return bits


def _best_return(
    bits: Mapping[str, int],
    start: Mapping[str, int],
    widths: Mapping[str, Sequence[int]],
    divergence: Mapping[tuple[str, int], float],
    cost: BitCost,
    limit: float,
) -> tuple[str, int] | None:
    """The layer that may have its next more bits back within the limit, for the most divergence a unit of cost; or None."""
    now = cost(bits)
    best, most = None, 0.0
    for layer, current in bits.items():
        more = [width for width in (*widths[layer], 32) if current < width <= start[layer]]
        if not more:
            continue
        added = cost({**bits, layer: more[0]}) - now
        spared = divergence[layer, current] - divergence.get((layer, more[0]), 0.0)
        if now + added <= limit and spared > 0:
            gain = spared / added if added > 0 else float("inf")
            if gain > most:
                best, most = (layer, more[0]), gain
    return best


def _best_step(
    bits: Mapping[str, int],
    widths: Mapping[str, Sequence[int]],
    divergence: Mapping[tuple[str, int], float],
    cost: BitCost,
) -> tuple[str, int] | None:
    """The layer to lower and its new bits; None where no layer can be lowered."""
    steps = []
    now = cost(bits)
    for place, (layer, current) in enumerate(bits.items()):
        fewer = [width for width in reversed(widths[layer]) if width < current]
        if fewer:
            savings = [now - cost({**bits, layer: width}) for width in fewer]
            chosen = next((i for i, saved in enumerate(savings) if saved > 0), 0)
            before = divergence.get((layer, current), 0.0)  # 32 bits lose nothing
            added = max(divergence[layer, fewer[chosen]] - before, 0.0)
            saves = savings[chosen] > 0
            price = added / savings[chosen] if saves else added
            steps.append((not saves, price, place, layer, fewer[chosen]))
    if not steps:
        return None
    *_, layer, width = min(steps)
    return layer, width
