"""What a run says of its device: where its costs are predicted from, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.report_plots import LatencyPair
from search.summary import ProfileSummary

if TYPE_CHECKING:
    from latency_models import DeviceFile, FittedDevice


@dataclass(frozen=True, kw_only=True)
class RunDevice:
    """The same for every kind of device file.

    Attributes:
        name: as people know it.
        quality: how well its cost model predicts.
        held_out: networks that were in no fit, for pictures; () where the file keeps none.
    """

    name: str
    quality: ProfileSummary
    held_out: tuple[LatencyPair, ...] = ()

    @classmethod
    def profiled(cls, file: DeviceFile) -> RunDevice:
        """Measured here, or imported."""
        report = file.report
        quality = ProfileSummary(
            spearman=report.spearman,
            mape=report.mape,
            within_10=report.within_10,
            held_out=report.num_held_out,
            noise_spearman=report.ceiling_spearman,
            noise_mape=report.ceiling_mape,
            noise_within_10=report.ceiling_within_10,
            energy_source=report.energy_source,
        )
        pairs = tuple(LatencyPair(*pair) for pair in file.held_out)
        return cls(name=file.device.name, quality=quality, held_out=pairs)

    @classmethod
    def fitted(cls, device: FittedDevice) -> RunDevice:
        """Learnt from a table: every measurement was left out of a fit in its turn."""
        header = device.header
        quality = ProfileSummary(
            spearman=header.left_out.spearman,
            mape=header.left_out.mape,
            within_10=header.left_out.within_10,
            held_out=header.num_measured,
            left_one_out=True,
            energy_source="estimated",
        )
        return cls(name=header.device, quality=quality)
