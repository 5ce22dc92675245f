"""From a suite's filled-in measurements to a device file, as if the device had been profiled here."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from archspace import Network
from latency_models.cost import Cost
from latency_models.device import Device
from latency_models.device_file import DeviceFile
from latency_models.energy import EnergyModel, estimate_mj, fit_energy
from latency_models.errors import CostModelRefused, SuiteError
from latency_models.features import layer_kinds
from latency_models.measuring import Measurement
from latency_models.profile_fit import Measured, ProfileData, fit_device_file
from latency_models.suite_manifest import MEASUREMENTS_FILE, Role, SuiteFile, SuiteManifest
from latency_models.suite_measurements import (
    MeasuredRow,
    RelativeRow,
    beside_reference,
    read_measurements,
)

IMPORTED = "imported"
"""Name of the energy counter of an imported device."""

_LEAST_MEASURED = 8
_MEDIAN_OF_DIFFERENCES = 0.954
"""Median of the absolute difference of two draws from N(0, 1)."""

_log = logging.getLogger(__name__)

_Runs = Mapping[str, Sequence[RelativeRow]]
"""Usable rows of each file, in order of their run number."""


class ImportedSuite(NamedTuple):
    """What came of an import.

    Attributes:
        device_file: fitted, not saved yet.
        num_rows: rows with a latency, the reference's among them.
        num_dropped: those left out, since the reference changed around them.
        num_missing: files of the suite without a usable measurement.
    """

    device_file: DeviceFile
    num_rows: int
    num_dropped: int
    num_missing: int


def import_suite(
    directory: Path,
    *,
    name: str,
    measurements: Path | None = None,
    processor: str = "unknown",
    runtime: str = "unknown",
    threads: int = 1,
) -> ImportedSuite:
    """Fit a cost model to a suite that someone measured.

    Args:
        directory: the suite, with its manifest; the ONNX files are not needed any more.
        name: how people call the device.
        measurements: the filled-in CSV; None for the suite's own.
        processor, runtime, threads: what the networks ran on, for people.

    Raises:
        SuiteError: a manifest or measurements that cannot be used, or too few of them.
        CostModelRefused: held-out networks are ranked too badly.
        OSError: a file cannot be opened.
    """
    manifest = SuiteManifest.load(directory)
    source = measurements or directory / MEASUREMENTS_FILE
    rows = read_measurements(source, [file.file for file in manifest.files])
    try:
        relative, dropped = beside_reference(rows, manifest.of_role("reference")[0].file)
        _check_varied([each.row for each in relative])
        data = _profile_data(manifest, _by_file(relative))
        energy = _energy_model(manifest, data, relative)
    except SuiteError as error:
        raise SuiteError(f"{source}: {error}") from error
    device = Device.elsewhere(
        name=name,
        processor=processor,
        runtime=runtime,
        threads=threads,
        batch_size=manifest.batch_size,
    )
    try:
        file = fit_device_file(
            data, energy, device, space_digest=manifest.space_digest, seconds=0.0
        )
    except CostModelRefused as error:
        raise CostModelRefused(
            f"{source}: {error}. Here that means: measure again with more runs behind each median, or export and "
            "measure a larger suite (--networks)"
        ) from error
    return ImportedSuite(file, len(rows), len(dropped), data.num_failed)


def _check_varied(rows: Sequence[MeasuredRow]) -> None:
    for column in ("latency_ms", "energy_mj"):
        values = [value for row in rows if (value := getattr(row, column)) is not None]
        if len(values) > 1 and len(set(values)) == 1:
            raise SuiteError(
                f"column {column}: all {len(values)} figures are {values[0]:g}; expected what each network takes by "
                "itself. Measure with a finer clock or meter"
            )


def _by_file(rows: Sequence[RelativeRow]) -> _Runs:
    runs: dict[str, list[RelativeRow]] = defaultdict(list)
    for each in sorted(rows, key=lambda each: each.row.run):
        runs[each.row.file].append(each)
    return runs


def _profile_data(manifest: SuiteManifest, runs: _Runs) -> ProfileData:
    """A profile's measurements: a held-out network's earlier half of runs is its first, the others its second."""
    held_out = _usable(manifest, "held_out", runs, least_runs=2)
    halves = [_halves(runs[file.file]) for file in held_out]
    noise = _noise(halves)

    def measured(files: Sequence[SuiteFile], rows: Sequence[Sequence[RelativeRow]]) -> Measured:
        return Measured([f.resolve() for f in files], [_measurement(each, noise) for each in rows])

    def of_role(role: Role) -> Measured:
        files = _usable(manifest, role, runs)
        return measured(files, [runs[file.file] for file in files])

    call, lone, fitted = of_role("call"), of_role("block"), of_role("network")
    _check_kinds(manifest, lone)
    num_used = len(held_out) + sum(len(part.networks) for part in (call, lone, fitted))
    return ProfileData(
        references=tuple(file.resolve() for file in manifest.of_role("reference")),
        held_out=measured(held_out, [first for first, _ in halves]),
        again=measured(held_out, [last for _, last in halves]),
        call=call,
        blocks=[network.blocks[0] for network in lone.networks],
        lone=lone,
        fitted=fitted,
        num_blocks_used=manifest.num_blocks_used,
        num_failed=len(manifest.files) - len(manifest.of_role("reference")) - num_used,
    )


def _usable(
    manifest: SuiteManifest, role: Role, runs: _Runs, *, least_runs: int = 1
) -> list[SuiteFile]:
    """Files of a role that were measured often enough; SuiteError where they are too few."""
    files = manifest.of_role(role)
    usable = [file for file in files if len(runs.get(file.file, ())) >= least_runs]
    needed = min(_LEAST_MEASURED, len(files))
    if len(usable) < needed or not files:
        example = next((file.file for file in files if file not in usable), "")
        often = f" in {least_runs} runs each" if least_runs > 1 else ""
        raise SuiteError(
            f"too few usable rows of role {role}: expected at least {max(needed, 1)} of {len(files)} files "
            f"measured{often}, got {len(usable)}; fill in latency_ms of more of them, such as {example}, or measure again "
            "the rows that were left out"
        )
    return usable


def _halves(rows: Sequence[RelativeRow]) -> tuple[Sequence[RelativeRow], Sequence[RelativeRow]]:
    """Earlier and later runs; the earlier ones are more where they are odd."""
    middle = (len(rows) + 1) // 2
    return rows[:middle], rows[middle:]


def _ratio(rows: Sequence[RelativeRow]) -> float:
    return float(np.median([each.ratio for each in rows]))


def _noise(halves: Sequence[tuple[Sequence[RelativeRow], Sequence[RelativeRow]]]) -> float:
    """Relative standard deviation of one figure, from how far two of one network differ."""
    differences = [abs(_ratio(first) / _ratio(last) - 1) for first, last in halves]
    return float(np.median(differences)) / _MEDIAN_OF_DIFFERENCES


def _measurement(rows: Sequence[RelativeRow], noise: float) -> Measurement:
    reference_ms = float(np.median([each.reference_ms for each in rows]))
    latency_ms = _ratio(rows) * reference_ms
    return Measurement(
        latency=Cost(latency_ms, noise * latency_ms, "measured"),
        rounds=len(rows),
        reference_ms=reference_ms,
        drift=rows[-1].reference_ms / rows[0].reference_ms - 1,
    )


def _check_kinds(manifest: SuiteManifest, lone: Measured) -> None:
    """Every kind of layer must be in some measured block: nothing could be said of others."""
    known = _kinds(lone.networks)
    for file in manifest.of_role("block"):
        unknown = _kinds([file.resolve()]) - known
        if unknown:
            raise SuiteError(
                f"no measured block holds {', '.join(sorted(unknown))}; fill in latency_ms of a block that does, "
                f"such as {file.file}"
            )


def _kinds(networks: Sequence[Network]) -> set[str]:
    return {kind for network in networks for block in network.blocks for kind in layer_kinds(block)}


def _energy_model(
    manifest: SuiteManifest, data: ProfileData, rows: Sequence[RelativeRow]
) -> EnergyModel:
    """Fitted to the fitting networks' energies where they were filled in, else the estimate."""
    energies = {each.row.file: each.row.energy_mj for each in rows if each.row.energy_mj}
    if not energies:
        return EnergyModel()
    files = {file.network_digest: file.file for file in manifest.of_role("network")}
    fitted = data.at_common_reference().fitted
    known = [
        (latency_ms, estimate_mj(network, manifest.batch_size), energy_mj)
        for network, latency_ms in zip(fitted.networks, fitted.values_ms, strict=True)
        if (energy_mj := energies.get(files[network.digest])) is not None
    ]
    if len(known) < _LEAST_MEASURED:
        raise SuiteError(
            f"column energy_mj: expected figures of at least {_LEAST_MEASURED} files of role network, got "
            f"{len(known)}; fill in more, or empty the column to have energies estimated"
        )
    latencies_ms, estimates_mj, energies_mj = zip(*known, strict=True)
    return fit_energy(IMPORTED, latencies_ms, estimates_mj, energies_mj)
