import pytest

from archspace import Network
from child_models import count_macs
from latency_models import prefix_network, prefix_networks
from latency_models.prefix import prefix_blocks


def test_prefixes_end_at_their_heads_and_grow(networks: list[Network]) -> None:
    seen = 0
    for network in networks:
        prefixes = prefix_networks(network)
        assert [p.output for p in prefixes] == list(network.heads)
        assert prefixes[-1] is network
        macs = [count_macs(p) for p in prefixes]
        assert macs == sorted(macs)
        for index, prefix in enumerate(prefixes):
            assert prefix.exits == network.exits[:index]
            assert prefix.shapes  # layers fit together: nothing that is needed was left out
            seen += index
    assert seen > 5


def test_an_exit_that_comes_before_is_computed_on_the_way(networks: list[Network]) -> None:
    network = next(n for n in networks if n.exits)
    whole = {layer.name for layer in network.layers}
    first = {layer.name for layer in prefix_network(network, 0).layers}
    assert network.exits[0].layer in first
    assert network.output not in first
    assert first < whole


def test_prefix_blocks_are_those_of_the_prefix_networks(networks: list[Network]) -> None:
    for network in networks:
        expected = [[b.signature for b in p.blocks] for p in prefix_networks(network)]
        assert [[b.signature for b in blocks] for blocks in prefix_blocks(network)] == expected


@pytest.mark.parametrize("index", [-1, 9])
def test_no_such_head(index: int, networks: list[Network]) -> None:
    with pytest.raises(IndexError, match="the final head"):
        prefix_network(networks[0], index)
