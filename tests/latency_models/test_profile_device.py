import itertools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from latency_models import (
    CostModelRefused,
    DeviceFile,
    EnergyReader,
    MeasuringFailed,
    ProfileConfig,
    profile_device,
    reference_network,
)
from latency_models.features import layer_kind
from latency_models.measuring import GROUP_SIZE
from latency_models.quality import FitQuality, check_quality, fit_quality
from latency_models.sampling import blocks_to_measure, profile_networks, spread_over_costs

QUICK = ProfileConfig(num_networks=60, num_held_out=32, num_blocks=200, rounds=2, repeats=2)


def run(space: StagedSpace, machine: Any, config: ProfileConfig = QUICK, **more: Any) -> DeviceFile:
    return profile_device(
        space,
        None,
        config,
        load=machine.load,
        clock=machine.clock,
        sleep=machine.sleep,
        **{"find_reader": lambda accelerator: None, **more},
    )


@pytest.fixture(scope="module")
def profiled(space: StagedSpace, module_machine: Any) -> tuple[Any, DeviceFile]:
    return module_machine, run(space, module_machine)


@pytest.fixture(scope="module")
def module_machine(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("make_machine")(noise=0.01)


def test_learns_a_machine_with_noise_quirks_and_interactions(
    profiled: tuple[Any, DeviceFile],
) -> None:
    report = profiled[1].report
    assert report.spearman > 0.97
    assert report.mape < 0.05
    assert report.within_10 > 0.9
    assert report.ceiling_spearman > 0.99
    assert report.ceiling_mape < 0.02
    assert report.meets_aim
    predicted, measured = zip(*profiled[1].held_out, strict=True)
    assert fit_quality(predicted, measured).mape == pytest.approx(report.mape)
    assert report.energy_source == "estimated"
    assert (report.num_fit, report.num_held_out, report.num_failed) == (60, 32, 0)


def test_intervals_and_margin_hold_on_networks_never_seen(
    space: StagedSpace, profiled: tuple[Any, DeviceFile]
) -> None:
    machine, file = profiled
    model = file.cost_model()
    rng = np.random.default_rng(77)
    networks = [space.resolve(space.sample(rng)) for _ in range(200)]
    costs = [c.latency_ms[-1] for c in model.predict(networks)]
    # the machine's noise is |N(0, 1)| % a call, so a measurement shows about 0.8 % more
    truth = [1.008 * machine.true_ms(n) for n in networks]
    covered = [abs(c.value - y) <= 1.645 * c.std for c, y in zip(costs, truth, strict=True)]
    assert np.mean(covered) > 0.75
    bounded = [y <= c.value * (1 + model.latency_margin) for c, y in zip(costs, truth, strict=True)]
    assert np.mean(bounded) > 0.85


def test_every_block_of_the_space_can_be_predicted(
    space: StagedSpace, profiled: tuple[Any, DeviceFile]
) -> None:
    model = profiled[1].cost_model()
    cheapest = space.minimum_cost((), model.block_latency_ms)
    dearest = -space.minimum_cost((), lambda block: -model.block_latency_ms(block))
    assert 0 < cheapest < dearest


def test_predictions_are_deterministic_and_survive_the_file(
    tmp_path: Any, profiled: tuple[Any, DeviceFile], networks: list[Network]
) -> None:
    file = profiled[1]
    file.save(tmp_path / "device.json")
    loaded = DeviceFile.load(tmp_path / "device.json")
    assert loaded == file
    assert loaded.cost_model().predict(networks) == file.cost_model().predict(networks)
    assert loaded.cost_model().latency_margin == file.latency_margin


def test_equal_seed_and_machine_give_an_equal_file(space: StagedSpace, make_machine: Any) -> None:
    config = QUICK.model_copy(update={"num_networks": 16, "num_held_out": 16, "num_blocks": 32})
    files = [run(space, make_machine(), config, seed=seed) for seed in (4, 4, 5)]
    same = [file.model_copy(update={"created": ""}) for file in files]
    assert same[0] == same[1]
    assert same[0] != same[2]


def test_a_machine_that_slows_down_is_learned_too(space: StagedSpace, make_machine: Any) -> None:
    report = run(space, make_machine(slowdown=0.1)).report
    assert report.drift > 0.3
    assert report.mape < 0.08
    assert report.ceiling_mape < 0.03


def test_time_is_kept_but_a_least_amount_is_measured(space: StagedSpace, make_machine: Any) -> None:
    machine = make_machine()
    file = run(space, machine, QUICK.model_copy(update={"budget_s": 0.01}))
    assert 8 <= file.report.num_fit <= GROUP_SIZE
    assert file.report.num_blocks_measured <= GROUP_SIZE < file.report.num_blocks_used
    full = run(space, make_machine()).report.seconds
    half = run(space, make_machine(), QUICK.model_copy(update={"budget_s": full / 2})).report
    assert half.seconds < 0.75 * full
    assert half.num_fit < 60


def test_progress_grows(space: StagedSpace, make_machine: Any) -> None:
    seen: list[tuple[str, float]] = []
    run(space, make_machine(), on_progress=lambda what, share: seen.append((what, share)))
    assert {"held-out networks", "blocks", "networks"} <= {what for what, _ in seen}
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_refuses_a_machine_whose_latencies_say_nothing(
    space: StagedSpace, make_machine: Any
) -> None:
    machine = make_machine()
    machine.true_ms = lambda network: 1.0  # all networks alike: what is left is noise
    with pytest.raises(CostModelRefused, match=r"at least 0\.8"):
        run(space, machine)


def test_networks_that_fail_are_left_out(space: StagedSpace, make_machine: Any) -> None:
    first = make_machine()
    run(space, first)
    broken = set(first.loaded[60:110:5]) - {reference_network().digest}
    report = run(space, make_machine(broken=broken)).report
    assert report.num_failed > 0
    assert report.mape < 0.05


def test_a_machine_on_which_nothing_runs(space: StagedSpace, make_machine: Any) -> None:
    machine = make_machine()
    healthy = machine.load

    def load(network: Network, device: Any) -> Any:
        if network is not reference_network():
            raise MeasuringFailed("out of memory")
        return healthy(network, device)

    machine.load = load
    with pytest.raises(MeasuringFailed, match=r"only 0 of 32 held-out networks.*out of memory"):
        run(space, machine)


def test_a_space_of_a_few_networks_is_refused(make_machine: Any) -> None:
    config = StagedSpaceConfig(
        stages=(StageConfig(channels=8, layers=1),), operations=("dwconv_k3",)
    )
    tiny = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=3)
    with pytest.raises(ValueError, match="too few networks"):
        run(tiny, make_machine())


def test_energies_are_fitted_to_a_counter(
    space: StagedSpace,
    networks: list[Network],
    make_machine: Any,
    make_reader: Callable[[Any], EnergyReader],
) -> None:
    machine = make_machine(power_w=5.0, idle_w=2.0)
    file = run(space, machine, find_reader=lambda accelerator: make_reader(machine))
    assert file.report.energy_source == "fake"
    assert file.energy_model.source == "predicted"
    for network, costs in zip(networks, file.cost_model().predict(networks), strict=True):
        cost = costs.energy_mj[-1]
        assert cost.source == "predicted"
        # 5 W × latency in ms = mJ; the 2 W of the idle machine are not the network's
        assert cost.value == pytest.approx(5.0 * machine.true_ms(network), rel=0.15)


def test_a_counter_that_stands_still_gives_estimates_not_zero(
    space: StagedSpace,
    networks: list[Network],
    make_machine: Any,
    make_reader: Callable[[Any], EnergyReader],
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine, frozen = make_machine(), make_machine()
    with caplog.at_level(logging.WARNING):
        file = run(space, machine, find_reader=lambda accelerator: make_reader(frozen))
    assert "estimated, not measured" in caplog.text
    assert file.energy_model.source == file.report.energy_source == "estimated"
    assert all(c.energy_mj[-1].value > 0 for c in file.cost_model().predict(networks))


def test_below_the_aim_it_warns(
    space: StagedSpace, make_machine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    few = ProfileConfig(num_networks=8, num_held_out=64, num_blocks=8, rounds=2, repeats=1)
    machine = make_machine(quirk=0.25, interaction=0.4)
    with caplog.at_level(logging.WARNING):
        file = run(space, machine, few)
    assert 0.8 <= file.report.spearman < 0.95
    assert not file.report.meets_aim
    assert "below the aim of 0.95" in caplog.text


def test_refusal_says_whether_the_machine_is_too_noisy() -> None:
    good, bad = FitQuality(0.96, 0.9, 0.1, 0.5, 0.5), FitQuality(0.5, 0.4, 0.1, 0.5, 0.5)
    check_quality(FitQuality(0.8, 0.6, 0.1, 0.5, 0.5), good)
    with pytest.raises(CostModelRefused, match=r"profile\.num_networks"):
        check_quality(bad, good)
    with pytest.raises(CostModelRefused, match="even measuring the same networks twice"):
        check_quality(bad, bad)


def test_fit_quality_by_hand() -> None:
    quality = fit_quality([1.0, 2.1, 3.3, 3.0], [1.0, 2.0, 3.0, 4.0])
    assert quality.spearman == pytest.approx(0.8)
    assert quality.kendall == pytest.approx(4 / 6)
    assert quality.mape == pytest.approx((0 + 0.05 + 0.1 + 0.25) / 4)
    assert quality.within_10 == 0.75
    assert fit_quality([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).spearman == 0.0


def test_held_out_networks_are_in_no_fit(space: StagedSpace) -> None:
    for seed in range(2):
        networks = profile_networks(space, 40, 40, np.random.default_rng(seed))
        held_out = {n.digest for n in networks.held_out}
        candidates = [n.digest for n in networks.candidates]
        assert len(held_out) == 40
        assert not held_out & set(candidates)
        assert len(set(candidates)) == len(candidates)


def test_sampling_stops_when_time_is_up(space: StagedSpace) -> None:
    rng = np.random.default_rng(0)
    networks = profile_networks(space, 5000, 40, rng, may_go_on=lambda: False)
    assert 16 <= len(networks.held_out) + len(networks.candidates) < 60


def test_blocks_are_all_of_the_space_and_every_kind_comes_first(
    space: StagedSpace, networks: list[Network]
) -> None:
    blocks = blocks_to_measure(space, networks[:3])
    signatures = [block.signature for block in blocks]
    assert len(set(signatures)) == len(signatures)
    assert {b.signature for n in networks for b in n.blocks} <= set(signatures)
    kinds = {layer_kind(layer) for block in blocks for layer in block.layers}
    assert {layer_kind(x) for b in blocks[: len(kinds)] for x in b.layers} == kinds


def test_every_beginning_is_spread_over_the_costs(networks: list[Network]) -> None:
    costs = {n.digest: float(len(n.layers)) for n in networks}
    chosen = spread_over_costs(networks, lambda n: costs[n.digest], 20)
    assert len({n.digest for n in chosen}) == 20
    values = [costs[n.digest] for n in chosen]
    assert set(values[:2]) == {min(costs.values()), max(costs.values())}
    thirds = np.linspace(min(values), max(values), 4)
    assert all(
        any(low <= v <= high for v in values[:10]) for low, high in itertools.pairwise(thirds)
    )


@pytest.mark.slow
def test_this_machine() -> None:
    config = StagedSpaceConfig(
        stages=(StageConfig(channels=24, layers=2), StageConfig(channels=48, layers=2, stride=2))
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    report = profile_device(space, None, ProfileConfig(budget_s=20)).report
    assert report.spearman >= min(0.95, report.ceiling_spearman - 0.05)
    assert report.mape <= 0.10 + report.ceiling_mape
    assert report.seconds < 30
