"""From a profile's measurements to its device file: fits, the error on held-out networks, and calibration."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from archspace import Block, Network
from latency_models.additive import AdditiveTable, fit_additive
from latency_models.calibration import interval_scale, latency_margin
from latency_models.correction import fit_correction
from latency_models.cost_model import ProfiledCostModel
from latency_models.device import Device
from latency_models.device_file import DeviceFile, HeldOutLatency
from latency_models.energy import EnergyModel
from latency_models.measuring import Measurement
from latency_models.quality import AIM, ProfileReport, check_quality, fit_quality

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """Networks and their measurements, in the same order."""

    networks: list[Network]
    results: list[Measurement]

    def at_reference(self, reference_ms: float) -> Measured:
        return Measured(self.networks, [m.at_reference(reference_ms) for m in self.results])

    @property
    def values_ms(self) -> list[float]:
        return [m.latency.value for m in self.results]

    @property
    def stds_ms(self) -> list[float]:
        return [m.latency.std for m in self.results]


@dataclass(frozen=True, kw_only=True)
class ProfileData:
    """Everything measured in one profile.

    Attributes:
        held_out, again: the same networks, in the same order, measured first and last.
        references: what all of them were measured beside.
        call: a network that does next to nothing.
        blocks, lone: blocks, and their measurements as networks of their own.
        fitted: whole networks for the correction.
        num_blocks_used: distinct blocks of the space.
        num_failed: blocks and networks that could not be measured.
    """

    references: tuple[Network, ...]
    held_out: Measured
    again: Measured
    call: Measured
    blocks: list[Block]
    lone: Measured
    fitted: Measured
    num_blocks_used: int
    num_failed: int

    @property
    def results(self) -> list[Measurement]:
        """All measurements."""
        parts = (self.held_out, self.again, self.call, self.lone, self.fitted)
        return [m for part in parts for m in part.results]

    @property
    def references_ms(self) -> list[float]:
        """The reference's time beside each network: a geometric mean over the reference networks."""
        return [m.reference_ms for m in self.results]

    def at_common_reference(self) -> ProfileData:
        """All figures as if the reference had taken its median time throughout."""
        reference_ms = float(np.median(self.references_ms))
        return ProfileData(
            references=self.references,
            held_out=self.held_out.at_reference(reference_ms),
            again=self.again.at_reference(reference_ms),
            call=self.call.at_reference(reference_ms),
            blocks=self.blocks,
            lone=self.lone.at_reference(reference_ms),
            fitted=self.fitted.at_reference(reference_ms),
            num_blocks_used=self.num_blocks_used,
            num_failed=self.num_failed,
        )


def additive_table(call: Measured, blocks: list[Block], lone: Measured) -> AdditiveTable:
    """The table of blocks measured alone."""
    return fit_additive(blocks, lone.values_ms, call.values_ms[0])


def fit_device_file(
    data: ProfileData,
    energy: EnergyModel,
    device: Device,
    *,
    space_digest: str,
    seconds: float,
) -> DeviceFile:
    """Fit, judge and calibrate a cost model.

    Args:
        data: as measured.
        energy: fitted already, or the estimate.
        device: where it was measured.
        space_digest: of the space whose networks were measured.
        seconds: how long measuring took.

    Raises:
        CostModelRefused: held-out networks are ranked too badly.
    """
    drift = max(data.references_ms) / min(data.references_ms) - 1
    data = data.at_common_reference()
    additive = additive_table(data.call, data.blocks, data.lone)
    fitted, measured_ms = data.fitted, data.held_out.values_ms
    correction = fit_correction(additive, fitted.networks, fitted.values_ms, fitted.stds_ms)
    model = ProfiledCostModel(additive, correction, energy, batch_size=device.batch_size)
    predicted = [costs.latency_ms[-1] for costs in model.predict(data.held_out.networks)]
    quality = fit_quality([cost.value for cost in predicted], measured_ms)
    ceiling = fit_quality(data.again.values_ms, measured_ms)
    _log.info("held-out networks: %s; measured twice: %s", quality, ceiling)
    check_quality(quality, ceiling)
    # disturbances only ever slow a network down: of two measurements the smaller one is the truer one
    settled_ms = [min(pair) for pair in zip(measured_ms, data.again.values_ms, strict=True)]
    below_noise = quality.spearman < min(AIM, ceiling.spearman)
    if quality.spearman < AIM:
        _log.warning(
            "the cost model ranks held-out networks with a Spearman correlation of %.3f, below the aim of %.2f%s. More "
            "measurements (a larger profile.budget_s) on a quiet machine help",
            quality.spearman,
            AIM,
            ": its intervals are widened"
            if below_noise
            else f"; measuring them twice gives {ceiling.spearman:.3f}, so the machine's noise is the limit",
        )
    return DeviceFile(
        device=device,
        space_digest=space_digest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        references=data.references,
        additive=additive,
        correction=correction,
        energy_model=energy,
        interval_scale=interval_scale(predicted, settled_ms, widened=below_noise),
        latency_margin=latency_margin(predicted, settled_ms),
        report=ProfileReport(
            **quality._asdict(),
            **{f"ceiling_{name}": value for name, value in ceiling._asdict().items()},
            num_fit=len(fitted.networks),
            num_held_out=len(measured_ms),
            num_blocks_measured=len(data.blocks),
            num_blocks_used=data.num_blocks_used,
            num_failed=data.num_failed,
            num_rounds=sum(m.rounds + m.discarded for m in data.results),
            num_rounds_discarded=sum(m.discarded for m in data.results),
            fastest_ms=min(measured_ms),
            slowest_ms=max(measured_ms),
            reference_ms=data.held_out.results[0].reference_ms,
            drift=drift,
            seconds=seconds,
            energy_source=energy.reader or energy.source,
        ),
        held_out=tuple(
            HeldOutLatency(cost.value, value)
            for cost, value in zip(predicted, measured_ms, strict=True)
        ),
    )
