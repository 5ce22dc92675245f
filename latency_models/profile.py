"""Learns what a space's networks cost on this device.

Held-out networks are measured first and again last: between the two lies the whole profile, so the noise
ceiling includes the machine's drift. Between them come blocks alone, then whole networks for the correction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from archspace import Block, Network, SearchSpace
from latency_models.additive import AdditiveTable, fit_additive
from latency_models.calibration import interval_scale, latency_margin
from latency_models.correction import Correction, fit_correction
from latency_models.cost_model import ProfiledCostModel
from latency_models.device import Accelerator, Device, DeviceConfig
from latency_models.device_file import DeviceFile
from latency_models.energy import (
    EnergyModel,
    estimate_mj,
    fit_energy,
    idle_power_mw,
    measure_energy,
)
from latency_models.energy_readers import EnergyReader, find_energy_reader
from latency_models.errors import MeasuringFailed
from latency_models.measuring import GROUP_SIZE, Clock, Measurement, measure_each
from latency_models.profile_config import ProfileConfig
from latency_models.quality import AIM, ProfileReport, check_quality, fit_quality
from latency_models.runners import Loader, load_runner, runtime_threads
from latency_models.sampling import (
    call_network,
    frequent_blocks,
    profile_networks,
    spread_over_costs,
)

_log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the time that has gone, 0-1."""

_HELD_OUT_SHARE = 0.12  # of the budget, for each of the two measurements of held-out networks
_BLOCKS_UNTIL = 0.45
_LEAST_MEASURED = 8
_ENERGY_NETWORKS = 8


def profile_device(
    space: SearchSpace,
    device_config: DeviceConfig | None = None,
    profile_config: ProfileConfig | None = None,
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
    load: Loader = load_runner,
    clock: Clock = time.perf_counter,
    find_reader: Callable[[Accelerator], EnergyReader | None] = find_energy_reader,
) -> DeviceFile:
    """Measure blocks and networks of `space` on this machine and fit a cost model.

    Args:
        space: whose networks will be predicted.
        device_config, profile_config: which device, and how much to measure.
        seed: decides which networks are measured, and in which order.
        on_progress: see `Progress`.
        load, clock, find_reader: how networks are made ready and timed, and energy is read.

    Raises:
        DeviceUnavailable: the device is not there.
        MeasuringFailed: nearly nothing could be measured.
        CostModelRefused: held-out networks are ranked with a Spearman correlation below 0.8.
        ValueError: the space has too few distinct networks to be profiled.
    """
    profile = _Profile(
        device=Device.here(device_config),
        config=profile_config or ProfileConfig(),
        seed=seed,
        on_progress=on_progress or (lambda what, share: None),
        load=load,
        clock=clock,
    )
    return profile.run(space, find_reader)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Networks and their measurements, in the same order."""

    networks: list[Network]
    results: list[Measurement]

    def at_reference(self, reference_ms: float) -> _Measured:
        return _Measured(self.networks, [m.at_reference(reference_ms) for m in self.results])

    @property
    def values_ms(self) -> list[float]:
        return [m.latency.value for m in self.results]

    @property
    def stds_ms(self) -> list[float]:
        return [m.latency.std for m in self.results]


@dataclass(frozen=True, slots=True)
class _AllMeasured:
    """Everything measured in one profile; `blocks` holds the empty call first."""

    held_out: _Measured
    again: _Measured
    blocks: _Measured
    fitted: _Measured

    def reference_ms(self) -> list[float]:
        """The reference network's time beside each network."""
        parts = (self.held_out, self.again, self.blocks, self.fitted)
        return [m.reference_ms for part in parts for m in part.results]

    def at_reference(self, reference_ms: float) -> _AllMeasured:
        parts = (self.held_out, self.again, self.blocks, self.fitted)
        return _AllMeasured(*(part.at_reference(reference_ms) for part in parts))


class _Profile:
    """One profile while it runs."""

    def __init__(
        self,
        *,
        device: Device,
        config: ProfileConfig,
        seed: int,
        on_progress: Progress,
        load: Loader,
        clock: Clock,
    ) -> None:
        self._device, self._config = device, config
        self._rng = np.random.default_rng(seed)
        self._on_progress = on_progress
        self._load, self._clock = load, clock
        self._start = clock()
        self._failures: list[MeasuringFailed] = []

    def run(
        self, space: SearchSpace, find_reader: Callable[[Accelerator], EnergyReader | None]
    ) -> DeviceFile:
        config = self._config
        reader = find_reader(self._device.accelerator)
        networks = profile_networks(space, config.num_networks, config.num_held_out, self._rng)
        held_out = self._measure("held-out networks", networks.held_out, until=_HELD_OUT_SHARE)
        held_out_share = self._elapsed_share()

        used = frequent_blocks(networks.candidates)
        chosen, blocks = self._measure_blocks(used[: config.num_blocks])
        rough = fit_additive(chosen, blocks.values_ms[1:], blocks.values_ms[0])

        to_fit = spread_over_costs(
            networks.candidates, lambda network: _additive_ms(rough, network), config.num_networks
        )
        energy_share = _energy_seconds(reader) / config.budget_s
        fitted = self._measure(
            "networks", to_fit, until=max(_BLOCKS_UNTIL, 1 - held_out_share - energy_share)
        )
        again = self._measure_again(held_out)
        measured = _AllMeasured(held_out, again, blocks, fitted)
        references_ms = measured.reference_ms()
        measured = measured.at_reference(float(np.median(references_ms)))
        additive = fit_additive(chosen, measured.blocks.values_ms[1:], measured.blocks.values_ms[0])
        correction = fit_correction(
            additive,
            measured.fitted.networks,
            measured.fitted.values_ms,
            measured.fitted.stds_ms,
        )
        energy = self._energy_model(reader, measured.fitted)
        drift = max(references_ms) / min(references_ms) - 1
        return self._device_file(space, additive, correction, energy, measured, len(used), drift)

    def _measure(self, what: str, networks: Sequence[Network], *, until: float) -> _Measured:
        """Measure group by group up to a share of the budget; the first group is measured in any case."""
        measured = _Measured([], [])
        for start in range(0, len(networks), GROUP_SIZE):
            if start and self._elapsed_share() >= until:
                _log.info("time is up: %d of %d %s measured", start, len(networks), what)
                break
            self._on_progress(what, min(1.0, self._elapsed_share()))
            self._measure_group(networks[start : start + GROUP_SIZE], measured)
        if len(measured.networks) < min(_LEAST_MEASURED, len(networks)):
            failure = self._failures[-1]
            raise MeasuringFailed(
                f"only {len(measured.networks)} of {len(networks)} {what} could be measured; "
                f"the last failure: {failure}"
            ) from failure
        return measured

    def _measure_group(self, group: Sequence[Network], measured: _Measured) -> None:
        results = measure_each(
            group,
            self._device,
            rounds=self._config.rounds,
            repeats=self._config.repeats,
            seed=int(self._rng.integers(2**31)),
            load=self._load,
            clock=self._clock,
        )
        for network, result in zip(group, results, strict=True):
            if isinstance(result, MeasuringFailed):
                _log.warning("left out: %s", result)
                self._failures.append(result)
                continue
            measured.networks.append(network)
            measured.results.append(result)

    def _measure_blocks(self, blocks: Sequence[Block]) -> tuple[list[Block], _Measured]:
        """(blocks measured, the empty call's measurement and then theirs)."""
        by_digest = {}
        networks = [call_network()]
        for block in blocks:
            network = block.as_network()
            by_digest[network.digest] = block
            networks.append(network)
        measured = self._measure("blocks", networks, until=_BLOCKS_UNTIL)
        if measured.networks[0].digest != networks[0].digest:
            raise MeasuringFailed(f"an empty call could not be measured: {self._failures[0]}")
        return [by_digest[network.digest] for network in measured.networks[1:]], measured

    def _measure_again(self, first: _Measured) -> _Measured:
        """The same networks in another order; results in the order of `first`."""
        order = self._rng.permutation(len(first.networks))
        shuffled = self._measure(
            "held-out networks again", [first.networks[i] for i in order], until=float("inf")
        )
        by_digest = dict(zip((n.digest for n in shuffled.networks), shuffled.results, strict=True))
        missing = [n.digest for n in first.networks if n.digest not in by_digest]
        if missing:
            raise MeasuringFailed(
                f"networks {', '.join(missing)} ran once, but not again: {self._failures[-1]}"
            )
        return _Measured(first.networks, [by_digest[n.digest] for n in first.networks])

    def _energy_model(self, reader: EnergyReader | None, fitted: _Measured) -> EnergyModel:
        """Fitted to the counter where there is one that works, else the estimate."""
        if reader is None:
            return EnergyModel()
        order = np.argsort(fitted.values_ms)
        picks = order[np.linspace(0, len(order) - 1, _ENERGY_NETWORKS).astype(int)]
        networks = [fitted.networks[i] for i in picks]
        try:
            with runtime_threads(self._device):
                idle_mw = idle_power_mw(reader)
                energies = [
                    measure_energy(self._load(network, self._device), reader, idle_mw)
                    for network in networks
                ]
        except MeasuringFailed as error:
            _log.warning("energies are estimated, not measured: %s", error)
            return EnergyModel()
        return fit_energy(
            reader.name,
            [fitted.values_ms[i] for i in picks],
            [estimate_mj(network, self._device.batch_size) for network in networks],
            energies,
        )

    def _device_file(
        self,
        space: SearchSpace,
        additive: AdditiveTable,
        correction: Correction,
        energy: EnergyModel,
        measured: _AllMeasured,
        num_blocks_used: int,
        drift: float,
    ) -> DeviceFile:
        model = ProfiledCostModel(additive, correction, energy, batch_size=self._device.batch_size)
        held_out = measured.held_out
        predicted = [costs.latency_ms[-1] for costs in model.predict(held_out.networks)]
        quality = fit_quality([cost.value for cost in predicted], held_out.values_ms)
        ceiling = fit_quality(measured.again.values_ms, held_out.values_ms)
        _log.info("held-out networks: %s; measured twice: %s", quality, ceiling)
        check_quality(quality, ceiling)
        if quality.spearman < AIM:
            _log.warning(
                "the cost model ranks held-out networks with a Spearman correlation of %.3f, below the aim of "
                "%.2f: its intervals are widened. A larger profile.budget_s on a quiet machine helps",
                quality.spearman,
                AIM,
            )
        return DeviceFile(
            device=self._device,
            space_digest=space.digest,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            additive=additive,
            correction=correction,
            energy_model=energy,
            interval_scale=interval_scale(
                predicted, held_out.values_ms, below_aim=quality.spearman < AIM
            ),
            latency_margin=latency_margin(predicted, held_out.values_ms),
            report=ProfileReport(
                **quality._asdict(),
                **{f"ceiling_{name}": value for name, value in ceiling._asdict().items()},
                num_fit=len(measured.fitted.networks),
                num_held_out=len(held_out.networks),
                num_blocks_measured=len(measured.blocks.networks) - 1,
                num_blocks_used=num_blocks_used,
                num_failed=len(self._failures),
                fastest_ms=min(held_out.values_ms),
                slowest_ms=max(held_out.values_ms),
                reference_ms=held_out.results[0].reference_ms,
                drift=drift,
                seconds=self._clock() - self._start,
                energy_source=energy.reader or energy.source,
            ),
        )

    def _elapsed_share(self) -> float:
        return (self._clock() - self._start) / self._config.budget_s


def _additive_ms(table: AdditiveTable, network: Network) -> float:
    return sum(table.lone_ms(block)[0] for block in network.blocks)


def _energy_seconds(reader: EnergyReader | None) -> float:
    if reader is None:
        return 0.0
    return 1.0 + (1 + _ENERGY_NETWORKS) * reader.least_seconds
