"""A profiled device as one JSON file: what it is, what networks cost there, and how sure that is."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
)

from archspace import Network, network_from_dict, network_to_dict, write_atomic
from latency_models.additive import AdditiveTable
from latency_models.correction import Correction
from latency_models.cost import Cost
from latency_models.cost_model import ProfiledCostModel
from latency_models.device import Accelerator, Device
from latency_models.energy import EnergyModel, estimate_mj, measure_energies
from latency_models.energy_readers import EnergyReader, find_energy_reader
from latency_models.errors import DeviceFileChanged, DeviceFileError, MeasuringFailed
from latency_models.measuring import Clock, Measurement, measure_networks
from latency_models.quality import ProfileReport
from latency_models.runners import Loader, load_runner

_log = logging.getLogger(__name__)

_MAX_BYTES = 100_000_000
_CHECKSUM = "sha256"


class HeldOutLatency(NamedTuple):
    """Latencies in ms of one network that was in no fit."""

    predicted_ms: float
    measured_ms: float


def _network(value: Any) -> Network:
    if isinstance(value, Network):
        return value
    try:
        return network_from_dict(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected a network as netlathe writes it ({error!r})") from error


NetworkField = Annotated[Network, PlainValidator(_network), PlainSerializer(network_to_dict)]


class DeviceFile(BaseModel):
    """What `profile_device` gives, or `import_suite` from figures that were measured elsewhere.

    It is made for one space, but may be used with another one as long as every kind of layer there was
    measured here; blocks not measured are predicted from their features, with a larger standard deviation.
    A kind of layer never measured is refused by the cost model (DeviceFileError).

    Attributes:
        device: where it was measured.
        space_digest: the space whose blocks and networks were measured.
        created: UTC date and time, ISO 8601.
        references: networks that every time was measured beside, and is a ratio to.
        additive, correction, energy_model: what was fitted.
        interval_scale, latency_margin: see `ProfiledCostModel`.
        report: error on held-out networks, beside the noise ceiling.
        held_out: each held-out network's latency in ms, for pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    SCHEMA_VERSION: ClassVar[int] = 2

    kind: Literal["netlathe_device"] = "netlathe_device"
    schema_version: Literal[2] = 2
    device: Device
    space_digest: str
    created: str
    references: tuple[NetworkField, ...] = Field(min_length=1)
    additive: AdditiveTable
    correction: Correction
    energy_model: EnergyModel
    interval_scale: float = Field(gt=0)
    latency_margin: float = Field(ge=0)
    report: ProfileReport
    held_out: tuple[HeldOutLatency, ...]

    @property
    def imported(self) -> bool:
        """Whether the device was measured elsewhere, so that nothing can be measured on it now."""
        return self.device.runtime == "external"

    def cost_model(self) -> ProfiledCostModel:
        """The cost model, ready to predict."""
        return ProfiledCostModel(
            self.additive,
            self.correction,
            self.energy_model,
            batch_size=self.device.batch_size,
            interval_scale=self.interval_scale,
            latency_margin=self.latency_margin,
        )

    def measure(
        self,
        networks: Sequence[Network],
        *,
        rounds: int = 9,
        repeats: int = 5,
        seed: int = 0,
        load: Loader = load_runner,
        clock: Clock = time.perf_counter,
    ) -> list[Measurement]:
        """Measure now, in the profile's milliseconds: ratios to the reference times its time back then.

        Figures then compare with this file's predictions even if the machine's speed has changed since.

        Raises:
            MeasuringFailed: a network does not run, or the file was imported.
        """
        if self.imported:
            raise MeasuringFailed(
                f"this device file was imported: {self.device.name} is not here, so nothing can be measured on it. "
                "Use the predictions; to measure, export a new suite and import its figures"
            )
        return measure_networks(
            networks,
            self.device,
            rounds=rounds,
            repeats=repeats,
            references=self.references,
            reference_ms=self.report.reference_ms,
            seed=seed,
            load=load,
            clock=clock,
        )

    def energy(
        self,
        networks: Sequence[Network],
        measurements: Sequence[Measurement],
        *,
        find_reader: Callable[[Accelerator], EnergyReader | None] = find_energy_reader,
        load: Loader = load_runner,
        clock: Clock = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> tuple[Cost, ...]:
        """Energy in mJ of networks whose latency was measured; one cost a network.

        Source ``measured`` where the counter that the profile was fitted to can be read now, ``predicted`` where
        it cannot, ``estimated`` where the profile had none.
        """
        if self.energy_model.reader is not None:
            reader = find_reader(self.device.accelerator)
            if reader is not None and reader.name == self.energy_model.reader:
                try:
                    return tuple(
                        measure_energies(
                            networks, self.device, reader, load=load, clock=clock, sleep=sleep
                        )
                    )
                except MeasuringFailed as error:
                    _log.warning("energies are predicted, not measured: %s", error)
        return tuple(
            self.energy_model.cost(
                measurement.latency.value, estimate_mj(network, self.device.batch_size)
            )
            for network, measurement in zip(networks, measurements, strict=True)
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, with a checksum of its values; a reader never sees a part of it, even after a crash."""
        values = self.model_dump(mode="json")
        whole = {**values, _CHECKSUM: _sha256(values)}
        write_atomic(Path(path), json.dumps(whole, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DeviceFile:
        """Read and check a file.

        Raises:
            DeviceFileError: not a device file, a damaged one, or one of another version.
            DeviceFileChanged: its values are not those that were written; files from before there was a checksum are taken as
                they are.
            OSError: it cannot be opened.
        """
        source = Path(path)
        if source.stat().st_size > _MAX_BYTES:
            raise DeviceFileError(f"{source}: over {_MAX_BYTES} bytes; this is no device file")
        data = _parse(source)
        _check_version(source, data)
        checksum = data.pop(_CHECKSUM, None)
        try:
            file = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DeviceFileError(
                f"{source}: damaged at {where}: {first['msg']}; measure the device again"
            ) from error
        if checksum is not None and checksum != _sha256(data):
            raise DeviceFileChanged(
                f"{source}: its values are not as they were written (their SHA-256 differs from the file's {_CHECKSUM!r}); put a "
                f"copy of it back, or measure the device again. Where you changed it on purpose, take {_CHECKSUM!r} out"
            )
        return file


def _sha256(values: dict[str, Any]) -> str:
    """Of all values, whatever the spaces and the order between them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _parse(source: Path) -> dict[str, Any]:
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DeviceFileError(
            f"{source}: expected JSON written by netlathe, got something else ({error}); "
            "measure the device again"
        ) from error
    if not isinstance(data, dict) or data.get("kind") != "netlathe_device":
        raise DeviceFileError(
            f'{source}: expected a device file ("kind": "netlathe_device"); did you mean another file?'
        )
    return data


def _check_version(source: Path, data: dict[str, Any]) -> None:
    found = data.get("schema_version")
    if found != DeviceFile.SCHEMA_VERSION:
        newer = isinstance(found, int) and found > DeviceFile.SCHEMA_VERSION
        advice = "update netlathe" if newer else "measure the device again"
        raise DeviceFileError(
            f"{source}: expected schema_version {DeviceFile.SCHEMA_VERSION}, got {found!r}; {advice}"
        )
