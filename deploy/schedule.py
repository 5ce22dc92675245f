"""The order in which a stand-alone model computes: one part a head, few variables, nothing kept too long.

Part e computes what head e needs and no earlier part has computed, so a sample that leaves at an exit
never pays for what lies behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archspace import INPUT, Layer, Network
from deploy.errors import UnsupportedNetwork

_VARIABLES = ("x", "y", "z", "w", "v", "u")
LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of code: `layer`, the variables that it reads, and the one that it writes."""

    layer: Layer
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Part:
    """What is computed for one head: from variables `receives` to ``logits`` and `hands_on`."""

    head: str
    receives: tuple[str, ...]
    steps: tuple[Step, ...]
    hands_on: tuple[str, ...]


def schedule(network: Network) -> tuple[Part, ...]:
    """One part a head, exits first.

    Raises:
        UnsupportedNetwork: a head that is not linear or is read by a layer, or a layer that nothing reads.
    """
    _check(network)
    groups = _layers_by_head(network)
    last_use = _last_uses([layer for group in groups for layer in group])
    variables = {INPUT: "x"}
    parts = []
    for head, group in zip(network.heads, groups, strict=True):
        receives = tuple(variables.values())
        steps = tuple(_assigned(group, head, variables, last_use))
        parts.append(Part(head, receives, steps, tuple(variables.values())))
    return tuple(parts)


def _check(network: Network) -> None:
    heads = set(network.heads)
    if len(heads) < len(network.heads):
        raise UnsupportedNetwork(f"heads {network.heads}: two of them are the same layer")
    read = {source for layer in network.layers for source in layer.inputs}
    for layer in network.layers:
        is_head = layer.name in heads
        if is_head and (layer.op != "linear" or layer.out_channels != network.num_classes):
            raise UnsupportedNetwork(
                f"head {layer.name}: expected a linear layer to {network.num_classes} logits, "
                f"got {layer.op} to {layer.out_channels}"
            )
        if is_head == (layer.name in read):
            problem = "a head, yet another layer reads it" if is_head else "read by nothing"
            raise UnsupportedNetwork(f"layer {layer.name} is {problem}")


def _layers_by_head(network: Network) -> list[list[Layer]]:
    """Each layer stands with the first head that needs it; inside a group, the network's order."""
    by_name = {layer.name: layer for layer in network.layers}
    done: set[str] = {INPUT}
    groups = []
    for head in network.heads:
        needed: set[str] = set()
        waiting = [head]
        while waiting:
            name = waiting.pop()
            if name not in done and name not in needed:
                needed.add(name)
                waiting.extend(by_name[name].inputs)
        groups.append([layer for layer in network.layers if layer.name in needed])
        done |= needed
    return groups


def _last_uses(order: list[Layer]) -> dict[str, str]:
    """Value name → name of the last layer that reads it."""
    return {source: layer.name for layer in order for source in layer.inputs}


def _assigned(
    group: list[Layer], head: str, variables: dict[str, str], last_use: dict[str, str]
) -> Iterator[Step]:
    """Steps of one part; `variables` (value → variable that holds it now) is updated on the way."""
    for layer in group:
        sources = tuple(variables[source] for source in layer.inputs)
        dying = dict.fromkeys(s for s in layer.inputs if last_use[s] == layer.name)
        freed = sorted((variables.pop(source) for source in dying), key=_rank)
        if layer.name == head:
            yield Step(layer, sources, LOGITS)
            continue
        target = freed[0] if freed else _unused(variables)
        variables[layer.name] = target
        yield Step(layer, sources, target)


def _rank(variable: str) -> tuple[int, str]:
    """The trunk's value stays in ``x``, branches take the later names."""
    known = variable in _VARIABLES
    return (_VARIABLES.index(variable), "") if known else (len(_VARIABLES), variable)


def _unused(variables: dict[str, str]) -> str:
    used = set(variables.values())
    names = (*_VARIABLES, *(f"x{i}" for i in range(1, len(used) + 1)))
    return next(name for name in names if name not in used)
