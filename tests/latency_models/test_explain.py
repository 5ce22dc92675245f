from typing import Any

import pytest

from archspace import INPUT, Layer, Network, Shape, StagedSpace
from latency_models import (
    DeviceFile,
    DeviceFileError,
    ProfileConfig,
    explain_network,
    profile_device,
)
from latency_models.additive import AdditiveTable
from latency_models.correction import Correction
from latency_models.describe import describe_block, describe_layer
from latency_models.energy import EnergyModel, estimate_mj
from latency_models.features import block_digest


@pytest.fixture(scope="module")
def file(space: StagedSpace, make_machine: Any) -> DeviceFile:
    machine = make_machine()
    config = ProfileConfig(num_networks=40, num_held_out=24, num_blocks=60, rounds=2, repeats=1)
    return profile_device(
        space,
        None,
        config,
        load=machine.load,
        clock=machine.clock,
        find_reader=lambda accelerator: None,
    )


@pytest.fixture
def network() -> Network:
    """One block: a 3×3 convolution of 2 channels on 4×4 pixels, then a 1×1 one to 6 channels at stride 2."""
    conv = Layer(
        name="c", op="conv", inputs=(INPUT,), block="b", in_channels=2, out_channels=2, kernel=3, padding=1
    )  # fmt: skip
    mix = Layer(
        name="m", op="conv", inputs=("c",), block="b", in_channels=2, out_channels=6, stride=2
    )
    return Network(input_shape=Shape(2, 4, 4), num_classes=6, layers=(conv, mix), output="m")


def with_formula(
    file: DeviceFile,
    *,
    lone: dict[str, float],
    learned: dict[str, float],
    measured: dict[str, float] | None = None,
    deviations: dict[str, float] | None = None,
    overhead_ms: float = 1.0,
    scale: float = 0.5,
) -> DeviceFile:
    """The same device with fits whose numbers are known."""
    additive = AdditiveTable(
        call_ms=0.1,
        blocks_ms=measured or {},
        weights=lone,
        kinds=("conv", "conv_1x1"),
        relative_std=0.1,
    )
    correction = Correction(
        overhead_ms=overhead_ms,
        scale=scale,
        weights=learned,
        deviations=deviations or {},
        relative_std=0.1,
    )
    return file.model_copy(update={"additive": additive, "correction": correction})


@pytest.mark.parametrize(
    "energy", [EnergyModel(), EnergyModel(source="predicted", reader="fake", mj_per_ms=3.0)]
)
def test_shares_add_up_to_the_prediction(
    file: DeviceFile, networks: list[Network], energy: EnergyModel
) -> None:
    file = file.model_copy(update={"energy_model": energy})
    measured = set()
    for network, costs in zip(networks, file.cost_model().predict(networks), strict=True):
        found = explain_network(file, network)
        assert found.latency_ms == costs.latency_ms[-1]
        assert found.energy_mj == costs.energy_mj[-1]
        parts = [found.overhead, *found.blocks]
        assert sum(p.latency_ms for p in parts) == pytest.approx(found.latency_ms.value, rel=1e-12)
        assert sum(p.energy_mj for p in parts) == pytest.approx(found.energy_mj.value, rel=1e-12)
        assert sum(p.share for p in parts) == pytest.approx(1, rel=1e-12)
        assert [b.name for b in found.blocks] == [b.name for b in network.blocks]
        for block in found.blocks:
            measured.add(block.lone_measured)
            for unit in ("latency_ms", "energy_mj", "share"):
                layers = [getattr(layer, unit) for layer in block.layers]
                assert min(layers) >= 0
                assert sum(layers) == pytest.approx(getattr(block, unit), rel=1e-12)
    assert measured == {True, False}


def test_a_regressed_block_is_split_into_its_layers_own_terms(
    file: DeviceFile, network: Network
) -> None:
    lone = {"blocks": 4.0, "conv.layers": 2.0, "conv.kb": 10.0, "conv_1x1.layers": 1.0}
    learned = {"conv_1x1.layers": 0.5}
    found = explain_network(with_formula(file, lone=lone, learned=learned), network)
    (block,) = found.blocks
    # the convolution reads and writes 2·4·4 numbers of 4 bytes: 0.256 kB
    assert block.lone_ms == pytest.approx(4 + 2 + 2.56 + 1)
    assert not block.lone_measured
    assert block.latency_ms == pytest.approx(0.5 * 9.56 + 0.5)
    scores = 0.5 * (2 + 2.56), 0.5 * 1 + 0.5  # the price of a block as such belongs to no layer
    assert [layer.latency_ms for layer in block.layers] == pytest.approx(
        [block.latency_ms * score / sum(scores) for score in scores]
    )
    assert found.overhead.latency_ms == 1.0
    assert block.share == pytest.approx(block.latency_ms / (block.latency_ms + 1))
    assert found.energy_mj.value == pytest.approx(estimate_mj(network))


def test_a_measured_block_and_its_deviation(file: DeviceFile, network: Network) -> None:
    digest = block_digest(network.blocks[0])
    formula = with_formula(
        file,
        lone={"conv.layers": 3.0, "conv_1x1.layers": 1.0},
        learned={},
        measured={digest: 20.0},
        deviations={digest: 0.1},
    )
    (block,) = explain_network(formula, network).blocks
    assert (block.lone_ms, block.lone_measured) == (20.0, True)
    assert block.latency_ms == pytest.approx(0.5 * 20 * 1.1)
    assert [layer.latency_ms for layer in block.layers] == pytest.approx([8.25, 2.75])


def test_layers_without_weights_get_equal_parts(file: DeviceFile, network: Network) -> None:
    (block,) = explain_network(with_formula(file, lone={"blocks": 6.0}, learned={}), network).blocks
    assert [layer.latency_ms for layer in block.layers] == pytest.approx([1.5, 1.5])


def test_top_keeps_the_most_expensive_and_the_sum(
    file: DeviceFile, networks: list[Network]
) -> None:
    network = max(networks, key=lambda n: len(n.blocks))
    whole = explain_network(file, network)
    top = whole.top(2)
    dearest = sorted((b.latency_ms for b in whole.blocks), reverse=True)
    assert [b.latency_ms for b in top.blocks] == dearest[:2]
    assert top.num_others == len(dearest) - 2 > 0
    assert top.others.latency_ms == pytest.approx(sum(dearest[2:]))
    again = top.top(1)
    assert again.num_others == top.num_others + 1
    assert again.others.latency_ms == pytest.approx(sum(dearest[1:]))
    everything = whole.top(100)
    assert everything.num_others == 0
    assert {b.name for b in everything.blocks} == {b.name for b in whole.blocks}
    with pytest.raises(ValueError, match="at least 1 block, got 0"):
        whole.top(0)


def test_what_cannot_be_explained(file: DeviceFile, network: Network) -> None:
    pool = Layer(
        name="p", op="avg_pool", inputs=("m",), block="p", in_channels=6, out_channels=6, kernel=2
    )
    unknown = Network(
        input_shape=network.input_shape, num_classes=6, layers=(*network.layers, pool), output="p"
    )
    formula = with_formula(file, lone={"blocks": 1.0}, learned={})
    with pytest.raises(DeviceFileError, match="nothing like avg_pool was measured"):
        explain_network(formula, unknown)
    nothing = with_formula(file, lone={}, learned={}, overhead_ms=0.0)
    with pytest.raises(DeviceFileError, match="predicts 0 ms"):
        explain_network(nothing, network)


def test_words(network: Network) -> None:
    conv, mix = network.layers
    assert describe_layer(conv, Shape(2, 4, 4), Shape(2, 4, 4)) == "conv 3×3, 2×4×4 → 2×4×4"
    assert describe_block(network.blocks[0]) == "2×4×4 in: conv 3×3 → 2, conv_1x1 /2 → 6"
    grouped = Layer(
        name="g", op="conv", inputs=("m",), block="g", in_channels=6, out_channels=9, kernel=5, groups=3
    )  # fmt: skip
    words = describe_layer(grouped, Shape(6, 2, 2), Shape(9, 2, 2))
    assert words == "conv_grouped 5×5 in 3 groups, 6×2×2 → 9×2×2"
    assert mix.stride == 2
