"""Barriers: promising children are measured, the cost model learns, and a resumed search repeats all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from archspace import Network, StagedSpace
from child_models import count_macs
from envs import CostBounds
from evaluation import (
    Evaluation,
    Ledger,
    LedgerSession,
    LimitsConfig,
    MinMaxConfig,
    ModelCosting,
    ObjectiveBounds,
    make_objective,
)
from latency_models import Cost, ProfiledCostModel
from latency_models.additive import fit_additive
from latency_models.correction import fit_correction
from latency_models.energy import EnergyModel
from search.config import RecalibrationConfig, SearchConfig
from search.parts import RunParts
from search.recalibration import SearchPaused, recalibrated, recalibrations
from search.sessions import open_session
from search.strategies import PlainPPOConfig, RandomConfig, make_strategy
from tests.search.strategy_toys import FIDELITY, Killed, ToyEvaluator, toy_space

SPACE = toy_space()
BUDGET, EVERY = 24, 8
CALL_MS = 0.1
STRATEGIES = [RandomConfig(), PlainPPOConfig(num_envs=4, episodes=1)]


def true_ms(network: Network) -> float:
    return CALL_MS + 0.02 * len(network.blocks) + count_macs(network) / 1e6


def profiled(space: StagedSpace = SPACE) -> ProfiledCostModel:
    """Fitted to `true_ms` of sampled networks."""
    rng = np.random.default_rng(0)
    networks = [space.resolve(space.sample(rng)) for _ in range(40)]
    blocks = list({b.signature: b for n in networks for b in n.blocks}.values())
    table = fit_additive(blocks, [true_ms(b.as_network()) for b in blocks], CALL_MS)
    times = [true_ms(network) for network in networks]
    correction = fit_correction(table, networks, times, [0.0] * len(times))
    return ProfiledCostModel(table, correction, EnergyModel())


class SlowedDevice:
    """As profiled, but everything takes `factor` times as long now."""

    imported = False

    def __init__(self, factor: float = 1.1) -> None:
        self.factor = factor
        self.measured: list[str] = []
        self.device = SimpleNamespace(name="toy")

    def cost_model(self) -> ProfiledCostModel:
        return profiled()

    def measure(self, networks: Sequence[Network], *, seed: int) -> list[Any]:
        self.measured += [network.digest for network in networks]
        times = [self.factor * true_ms(network) for network in networks]
        return [SimpleNamespace(latency=Cost(ms, 0.001 * ms, "measured")) for ms in times]


def parts_of(
    folder: Path,
    device: SlowedDevice,
    *,
    accept_drift: bool = False,
    evaluator: ToyEvaluator | None = None,
    recalibration: RecalibrationConfig | None = None,
    budget: int = BUDGET,
) -> RunParts:
    unused = cast(Any, None)
    model = profiled()
    return RunParts(
        name="run",
        run_dir=folder,
        seed=0,
        space=SPACE,
        evaluator=evaluator or ToyEvaluator(),
        ledger=Ledger(f"sqlite:///{folder / 'ledger.db'}"),
        costing=ModelCosting(model),
        objective=make_objective(
            MinMaxConfig(),
            ObjectiveBounds(
                latency_min_ms=CALL_MS, latency_max_ms=1, energy_min_mj=1e-6, energy_max_mj=1
            ),
        ),
        limits=LimitsConfig(latency_ms=0.4),
        bounds=CostBounds(SPACE, model, LimitsConfig(latency_ms=0.4)),
        search=SearchConfig(
            budget=budget,
            recalibration=recalibration or RecalibrationConfig(every=EVERY, networks=3),
        ),
        schedule=cast(Any, SimpleNamespace(search=FIDELITY)),
        training_seed=0,
        accuracy_floor=0.0,
        dataset=unused,
        device_file=cast(Any, device),
        mirror_dir=None,
        config_text="",
        objective_text="",
        accept_drift=accept_drift,
    )


def search(parts: RunParts, config: Any) -> LedgerSession:
    session = open_session(parts, config.name)
    strategy = make_strategy(
        config,
        space=parts.space,
        bounds=parts.bounds,
        seed=0,
        checkpoint_dir=parts.run_dir / "checkpoints",
    )
    with recalibrated(parts, session):
        strategy.run(session)
    return session


def errors(evaluations: Sequence[Evaluation], factor: float) -> list[float]:
    """Relative error of each predicted worst latency against what the network takes now."""
    found = []
    for e in evaluations:
        assert e.costs is not None
        actual = factor * true_ms(SPACE.resolve(e.architecture.choices))
        found.append(abs(e.costs.latency_worst_ms.value / actual - 1))
    return found


@pytest.mark.parametrize("config", STRATEGIES, ids=lambda c: c.name)
def test_the_model_learns_and_rewards_keep_their_version(tmp_path: Path, config: Any) -> None:
    device = SlowedDevice(1.1)
    parts = parts_of(tmp_path, device)
    session = search(parts, config)
    before = [e for e in session.history if e.sequence < EVERY]
    after = [e for e in session.history if e.sequence >= EVERY]
    assert {e.costs.model_version for e in before if e.costs} == {1}
    assert min(e.costs.model_version for e in after if e.costs) == 2
    assert np.median(errors(before, 1.1)) == pytest.approx(1 - 1 / 1.1, abs=0.02)
    assert np.median(errors(after, 1.1)) < 0.025
    assert len(set(device.measured)) == len(device.measured)
    assert parts.bounds.terms[0].overhead == pytest.approx(profiled().additive_overhead_ms)


def test_the_most_promising_are_measured(tmp_path: Path) -> None:
    device = SlowedDevice()
    session = search(parts_of(tmp_path, device), RandomConfig())
    first = {e.architecture.digest: e for e in session.history if e.sequence < EVERY and e.ok}
    best = sorted(first.values(), key=lambda e: (-e.reward, e.sequence))[:3]
    assert device.measured[:3] == [SPACE.resolve(e.architecture.choices).digest for e in best]


@pytest.mark.parametrize("config", STRATEGIES, ids=lambda c: c.name)
def test_a_killed_search_repeats_it_all(tmp_path: Path, config: Any) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    undisturbed = search(parts_of(whole, SlowedDevice()), config)
    for die_after in (3, 9, 13, 20):
        killed = tmp_path / f"killed-{die_after}"
        killed.mkdir()
        first = SlowedDevice()
        with pytest.raises(Killed):
            search(parts_of(killed, first, evaluator=ToyEvaluator(die_after=die_after)), config)
        second = SlowedDevice()
        parts = parts_of(killed, second)
        resumed = search(parts, config)
        assert not set(first.measured) & set(second.measured)
        assert [e.reward for e in resumed.history] == [e.reward for e in undisturbed.history]
        assert [e.costs for e in resumed.history] == [e.costs for e in undisturbed.history]
        again = search(parts_of(killed, SlowedDevice(9.0)), config)  # nothing is measured any more
        assert [e.costs for e in again.history] == [e.costs for e in undisturbed.history]
        assert recalibrations(parts, resumed)[0].drift == pytest.approx(0.1, abs=0.02)


def test_a_larger_budget_afterwards_meets_the_same_barriers(tmp_path: Path) -> None:
    """The barrier at the smaller budget's end, where there was nothing to gain, is one with the larger."""
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    whole.mkdir()
    grown.mkdir()
    undisturbed = search(parts_of(whole, SlowedDevice()), RandomConfig())
    first = SlowedDevice()
    search(parts_of(grown, first, budget=2 * EVERY), RandomConfig())
    assert len(first.measured) == 3
    resumed = search(parts_of(grown, SlowedDevice()), RandomConfig())
    assert [e.costs for e in resumed.history] == [e.costs for e in undisturbed.history]


def test_a_barrier_that_was_passed_without_measuring_stays_so(tmp_path: Path) -> None:
    """What was proposed after it has its costs already."""
    none = RecalibrationConfig(every=0)
    search(parts_of(tmp_path, SlowedDevice(), budget=2 * EVERY, recalibration=none), RandomConfig())
    parts = parts_of(tmp_path, SlowedDevice())
    session = search(parts, RandomConfig())
    assert [found.count for found in recalibrations(parts, session)] == [2 * EVERY]
    versions = [e.costs.model_version for e in session.history if e.costs]
    assert set(versions[: 2 * EVERY]) == {1}
    assert set(versions[2 * EVERY :]) == {2}


def test_drift_pauses_and_can_be_accepted(tmp_path: Path) -> None:
    device = SlowedDevice(1.6)
    with pytest.raises(SearchPaused, match=r"takes \+6\d\.\d % .*max_drift allows 25 %"):
        search(parts_of(tmp_path, device), RandomConfig())
    with pytest.raises(SearchPaused):  # still so
        search(parts_of(tmp_path, device), RandomConfig())
    assert len(device.measured) == 6
    calm = SlowedDevice(1.0)  # the neighbour has gone
    parts = parts_of(tmp_path, calm)
    assert search(parts, RandomConfig()).spent == BUDGET
    other = tmp_path / "accepted"
    other.mkdir()
    parts = parts_of(other, device, accept_drift=True)
    session = search(parts, RandomConfig())
    assert np.median(errors(session.history[EVERY:], 1.6)) < 0.1
    drifts = [found.drift for found in recalibrations(parts, session)]
    assert drifts[0] == pytest.approx(0.6, abs=0.05)
    assert drifts[1] < 0.1


def test_nothing_is_measured_elsewhere_or_below_200_children(tmp_path: Path) -> None:
    assert RecalibrationConfig().every_for(199) == 0
    assert RecalibrationConfig().every_for(200) == 100
    assert RecalibrationConfig(every=0).every_for(10_000) == 0
    device = SlowedDevice()
    search(parts_of(tmp_path, device, recalibration=RecalibrationConfig()), RandomConfig())
    device.imported = True  # type: ignore[misc]
    other = tmp_path / "imported"
    other.mkdir()
    search(parts_of(other, device), RandomConfig())
    assert not device.measured
