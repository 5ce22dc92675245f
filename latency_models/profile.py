"""Learns what a space's networks cost on this device.

Held-out networks are measured first and again last: between the two lies the whole profile, so the noise
ceiling includes the machine's drift. Between them come blocks alone, then whole networks for the correction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from archspace import Block, Network, SearchSpace
from latency_models.device import Accelerator, Device, DeviceConfig
from latency_models.device_file import DeviceFile
from latency_models.energy import (
    EnergyModel,
    estimate_mj,
    fit_energy,
    measure_energies,
)
from latency_models.energy_readers import EnergyReader, find_energy_reader
from latency_models.errors import CostModelRefused, MeasuringFailed
from latency_models.journal import MeasuringJournal, results_from_json, results_to_json
from latency_models.measuring import GROUP_SIZE, Clock, measure_each
from latency_models.profile_config import ProfileConfig
from latency_models.profile_fit import Measured, ProfileData, additive_table, fit_device_file
from latency_models.runners import Loader, Runner, load_runner
from latency_models.sampling import (
    ProfileNetworks,
    blocks_to_measure,
    call_network,
    profile_networks,
    reference_networks,
)
from latency_models.selection import networks_to_fit

_log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with what is being measured and the share of the time that has gone, 0-1."""

_SAMPLING_UNTIL = 0.05
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
    journal_path: Path | None = None,
    load: Loader = load_runner,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    find_reader: Callable[[Accelerator], EnergyReader | None] = find_energy_reader,
) -> DeviceFile:
    """Measure blocks and networks of `space` on this machine and fit a cost model.

    Args:
        space: whose networks will be predicted.
        device_config, profile_config: which device, and how much to measure.
        seed: decides which networks are measured, and in which order.
        on_progress: see `Progress`.
        journal_path: file that keeps each measurement as it comes; a profile that was killed goes on from it, within
            the rest of its budget. Deleted at the end. None: nothing is kept.
        load, clock, sleep, find_reader: how networks are made ready and timed, and energy is read.

    Raises:
        DeviceUnavailable: the device is not there.
        JournalMismatch: `journal_path` is of another profile.
        MeasuringFailed: nearly nothing could be measured.
        CostModelRefused: held-out networks are ranked with a Spearman correlation below 0.8.
        ValueError: the space has too few distinct networks to be profiled.
    """
    device, config = Device.here(device_config), profile_config or ProfileConfig()
    references = reference_networks(space)
    ready = _that_run(references, device, load)
    journal = None
    if journal_path is not None:
        header = {
            "kind": "netlathe_journal",
            "space": space.digest,
            "device": asdict(device),
            "profile": config.model_dump(mode="json"),
            "seed": seed,
            "references": list(ready),
        }
        journal = MeasuringJournal(journal_path, header)
    profile = _Profile(
        device=device,
        config=config,
        references=[network for network in references if network.digest in ready],
        seed=seed,
        on_progress=on_progress or (lambda what, share: None),
        journal=journal,
        load=lambda network, device: ready.get(network.digest) or load(network, device),
        clock=clock,
        sleep=sleep,
    )
    try:
        file = profile.run(space, find_reader)
    except CostModelRefused:
        profile.forget()  # the same measurements would be refused again
        raise
    profile.forget()
    return file


def _that_run(references: Sequence[Network], device: Device, load: Loader) -> dict[str, Runner]:
    """References made ready, by digest; without those of the space's own that do not run here.

    Raises:
        MeasuringFailed: the one that is of no space does not run, so nothing does.
    """
    runners = {references[0].digest: load(references[0], device)}
    for network in references[1:]:
        try:
            runners[network.digest] = load(network, device)
        except MeasuringFailed as error:
            _log.warning("no reference: %s", error)
    return runners


class _Profile:
    """One profile while it runs."""

    def __init__(
        self,
        *,
        device: Device,
        config: ProfileConfig,
        references: Sequence[Network],
        seed: int,
        on_progress: Progress,
        journal: MeasuringJournal | None,
        load: Loader,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._device, self._config = device, config
        self._references = tuple(references)
        self._rng = np.random.default_rng(seed)
        self._on_progress = on_progress
        self._journal = journal
        self._load, self._clock, self._sleep = load, clock, sleep
        self._start = clock() - (journal.elapsed_s if journal is not None else 0.0)
        self._failures: list[MeasuringFailed] = []

    def run(
        self, space: SearchSpace, find_reader: Callable[[Accelerator], EnergyReader | None]
    ) -> DeviceFile:
        config = self._config
        reader = find_reader(self._device.accelerator)
        networks = self._sampled(space)
        before = self._elapsed_share()
        held_out = self._measure(
            "held-out networks", networks.held_out, until=_SAMPLING_UNTIL + _HELD_OUT_SHARE
        )
        held_out_share = self._elapsed_share() - before

        used = blocks_to_measure(space, networks.candidates)
        call, blocks, lone = self._measure_blocks(used[: config.num_blocks])
        rough = additive_table(call, blocks, lone)
        to_fit = networks_to_fit(networks.candidates, rough, config.num_networks)
        energy_share = _energy_seconds(reader) / config.budget_s
        fitted = self._measure(
            "networks", to_fit, until=max(_BLOCKS_UNTIL, 1 - held_out_share - energy_share)
        )
        again = self._measure_again(held_out)
        energy = self._energy_model(reader, fitted)
        return fit_device_file(
            ProfileData(
                references=self._references,
                held_out=held_out,
                again=again,
                call=call,
                blocks=blocks,
                lone=lone,
                fitted=fitted,
                num_blocks_used=len(used),
                num_failed=len(self._failures),
            ),
            energy,
            self._device,
            space_digest=space.digest,
            seconds=self._clock() - self._start,
        )

    def forget(self) -> None:
        """The journal is not needed any more."""
        if self._journal is not None:
            self._journal.delete()

    def _sampled(self, space: SearchSpace) -> ProfileNetworks:
        """As many networks as the time allows; the same ones when a profile is gone on with."""
        went_on = 0
        allowed = self._replayed(["sampling"])

        def may_go_on() -> bool:
            nonlocal went_on
            if allowed is None:
                goes_on = self._elapsed_share() < _SAMPLING_UNTIL
            else:
                goes_on = went_on < int(allowed)
            went_on += goes_on
            return goes_on

        config = self._config
        networks = profile_networks(
            space, config.num_networks, config.num_held_out, self._rng, may_go_on=may_go_on
        )
        if allowed is None:
            self._record(["sampling"], went_on)
        return networks

    def _replayed(self, what: Sequence[str]) -> Any | None:
        return self._journal.replay(what) if self._journal is not None else None

    def _record(self, what: Sequence[str], content: Any) -> None:
        if self._journal is not None:
            self._journal.add(what, content, self._clock() - self._start)

    def _measure(self, what: str, networks: Sequence[Network], *, until: float) -> Measured:
        """Measure group by group up to a share of the budget; the first group is measured in any case."""
        measured = Measured([], [])
        for start in range(0, len(networks), GROUP_SIZE):
            if start and self._time_is_up(what, until):
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

    def _time_is_up(self, what: str, until: float) -> bool:
        """Decided once: a profile that is gone on with stops a stage where it stopped it before."""
        end = ["time is up", what]
        if self._journal is not None and self._journal.replayed_s is not None:
            return self._journal.comes_next(end) and bool(self._journal.replay(end))
        if self._elapsed_share() < until:
            return False
        self._record(end, True)
        return True

    def _measure_group(self, group: Sequence[Network], measured: Measured) -> None:
        seed = int(self._rng.integers(2**31))
        digests = [network.digest for network in group]
        known = self._replayed(digests)
        results = (
            results_from_json(known)
            if known is not None
            else measure_each(
                group,
                self._device,
                rounds=self._config.rounds,
                repeats=self._config.repeats,
                references=self._references,
                seed=seed,
                load=self._load,
                clock=self._clock,
            )
        )
        if known is None:
            self._record(digests, results_to_json(results))
        for network, result in zip(group, results, strict=True):
            if isinstance(result, MeasuringFailed):
                _log.warning("left out: %s", result)
                self._failures.append(result)
                continue
            measured.networks.append(network)
            measured.results.append(result)

    def _measure_blocks(self, blocks: Sequence[Block]) -> tuple[Measured, list[Block], Measured]:
        """(an empty call, the blocks that could be measured, their measurements)."""
        call = self._measure("an empty call", [call_network()], until=_BLOCKS_UNTIL)
        by_digest = {block.as_network().digest: block for block in blocks}
        lone = self._measure(
            "blocks", [block.as_network() for block in blocks], until=_BLOCKS_UNTIL
        )
        return call, [by_digest[network.digest] for network in lone.networks], lone

    def _measure_again(self, first: Measured) -> Measured:
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
        return Measured(first.networks, [by_digest[n.digest] for n in first.networks])

    def _energy_model(self, reader: EnergyReader | None, fitted: Measured) -> EnergyModel:
        """Fitted to the counter where there is one that works, else the estimate."""
        if reader is None:
            return EnergyModel()
        order = np.argsort(fitted.values_ms)
        picks = order[np.linspace(0, len(order) - 1, _ENERGY_NETWORKS).astype(int)]
        networks = [fitted.networks[i] for i in picks]
        try:
            energies = measure_energies(
                networks,
                self._device,
                reader,
                parts=1,
                load=self._load,
                clock=self._clock,
                sleep=self._sleep,
            )
        except MeasuringFailed as error:
            _log.warning("energies are estimated, not measured: %s", error)
            return EnergyModel()
        return fit_energy(
            reader.name,
            [fitted.values_ms[i] for i in picks],
            [estimate_mj(network, self._device.batch_size) for network in networks],
            [cost.value for cost in energies],
        )

    def _elapsed_share(self) -> float:
        """Of the budget; while a journal is replayed, as it was then."""
        seconds = self._journal.replayed_s if self._journal is not None else None
        if seconds is None:
            seconds = self._clock() - self._start
        return seconds / self._config.budget_s


def _energy_seconds(reader: EnergyReader | None) -> float:
    if reader is None:
        return 0.0
    return 2.0 + (2 + _ENERGY_NETWORKS) * reader.least_seconds
