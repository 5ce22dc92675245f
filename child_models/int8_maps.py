"""Which maps INT8 execution holds as 8-bit numbers. Fake quantisation rounds the same ones, so both compute the same.

| map | rounded |
|---|---|
| read by a conv, linear, global_avg_pool or an add of two | yes |
| given by a conv, global_avg_pool or an add of two | yes, unless only a relu layer reads it: then the relu's |
| given by a relu layer | yes, if what it reads is |
| logits, and whatever is made of them | no |

BatchNorm on its own, average pooling, zeros and sums of three or more run in float32 between rounded maps.
"""

from __future__ import annotations

from archspace import INPUT, Layer, Network


def quantised_maps(network: Network) -> tuple[str, ...]:
    """Names of layers, or ``"input"``, in the order of the layers."""
    logits = logit_layers(network)
    readers = _readers(network)
    rounded: set[str] = set()
    for layer in network.layers:
        if layer.name in logits and layer.op != "linear":
            continue
        source = layer.inputs[0]
        if layer.op == "relu":
            if source not in rounded:
                continue
            if readers[source] == [layer.name] and source not in (INPUT, *network.heads):
                rounded.discard(source)
            rounded.add(layer.name)
        elif computes_in_int8(layer):
            rounded.update(layer.inputs)
            if layer.name not in logits:
                rounded.add(layer.name)
    return tuple(name for name in (INPUT, *(n.name for n in network.layers)) if name in rounded)


def computes_in_int8(layer: Layer) -> bool:
    """Whether the operation has an 8-bit kernel of its own that is used."""
    if layer.op == "add":
        return len(layer.inputs) == 2
    return layer.op in ("conv", "linear", "global_avg_pool")


def logit_layers(network: Network) -> set[str]:
    """Linear layers and what is made of their results."""
    found: set[str] = set()
    for layer in network.layers:
        if layer.op == "linear" or found.intersection(layer.inputs):
            found.add(layer.name)
    return found


def _readers(network: Network) -> dict[str, list[str]]:
    readers: dict[str, list[str]] = {
        name: [] for name in (INPUT, *(n.name for n in network.layers))
    }
    for layer in network.layers:
        for source in layer.inputs:
            readers[source].append(layer.name)
    return readers
