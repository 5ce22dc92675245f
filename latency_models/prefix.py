"""The part of a network that a sample runs through when it leaves at an early exit."""

from __future__ import annotations

from dataclasses import replace

from archspace import Block, Network


def prefix_network(network: Network, exit_index: int) -> Network:
    """The network up to head `exit_index` (0 … number of exits; the last is the final head).

    It holds what that head needs and what the exits before it need, since those are computed on the way. Its
    output is that head. The last prefix is the whole network.

    Raises:
        IndexError: there is no such head.
    """
    if not 0 <= exit_index <= len(network.exits):
        raise IndexError(
            f"exit_index: expected 0 to {len(network.exits)} (the final head), got {exit_index}"
        )
    if exit_index == len(network.exits):
        return network
    needed = _needed(network, exit_index)
    return replace(
        network,
        layers=tuple(layer for layer in network.layers if layer.name in needed),
        output=network.heads[exit_index],
        exits=network.exits[:exit_index],
    )


def prefix_networks(network: Network) -> tuple[Network, ...]:
    """One prefix a head, in the order of `network.heads`; the last is the whole network."""
    return tuple(prefix_network(network, i) for i in range(len(network.heads)))


def prefix_blocks(network: Network) -> list[list[Block]]:
    """Blocks of each prefix: those of `prefix_networks`, without building the networks."""
    prefixes = []
    for exit_index in range(len(network.exits)):
        needed = _needed(network, exit_index)
        prefixes.append([part for block in network.blocks if (part := _part(block, needed))])
    return [*prefixes, list(network.blocks)]


def _needed(network: Network, exit_index: int) -> set[str]:
    """Names of the layers that heads 0 … `exit_index` depend on (and of the input)."""
    needed = set(network.heads[: exit_index + 1])
    for layer in reversed(network.layers):
        if layer.name in needed:
            needed.update(layer.inputs)
    return needed


def _part(block: Block, needed: set[str]) -> Block | None:
    layers = tuple(layer for layer in block.layers if layer.name in needed)
    if len(layers) == len(block.layers):
        return block
    return replace(block, layers=layers) if layers else None
