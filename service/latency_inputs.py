"""Files that the `netlathe latency` verbs read, with errors that name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import DamagedError, NotFoundError, UsageError

if TYPE_CHECKING:
    from archspace import ArchitectureDocument, SearchSpace
    from latency_models import DeviceFile, FittedDevice, KnownDevice


@dataclass(frozen=True, slots=True)
class NamedArchitecture:
    """An architecture and where it was read from."""

    path: Path
    document: ArchitectureDocument


def read_device_file(path: Path) -> DeviceFile:
    """A profiled device. Raises NotFoundError, or UsageError for files that are not one."""
    if not path.is_file():
        raise NotFoundError(
            f"no device file at {path}; `netlathe latency profile CONFIG --out {path}` makes one"
        )
    from latency_models import DeviceFile, DeviceFileError

    try:
        return DeviceFile.load(path)
    except DeviceFileError as error:
        raise UsageError(str(error)) from error


def read_fitted_device(path: Path) -> FittedDevice:
    """A device learnt from a table. Raises NotFoundError, UsageError for files that are not one, DamagedError for changed ones."""
    if not path.is_file():
        raise NotFoundError(f"no fitted device at {path}; `netlathe latency fit` makes one")
    from latency_models import DeviceFileChanged, FittedDevice

    try:
        return FittedDevice.load(path)
    except DeviceFileChanged as error:
        raise DamagedError(str(error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error


def read_known_devices(paths: Sequence[Path]) -> dict[str, KnownDevice]:
    """Devices that help to learn another one, by file name. Raises NotFoundError or UsageError."""
    return {
        str(path): read_fitted_device(path)
        if path.suffix == ".safetensors"
        else read_device_file(path)
        for path in paths
    }


def read_architecture(path: Path) -> NamedArchitecture:
    """An architecture.json, or that of an exported folder. Raises NotFoundError or UsageError."""
    file = path / "architecture.json" if path.is_dir() else path
    if not file.is_file():
        raise NotFoundError(
            f"no architecture at {file}; expected an architecture.json or an exported folder, such as "
            "results/RUN/best"
        )
    from archspace import ArchitectureDocument, SchemaError

    try:
        return NamedArchitecture(path, ArchitectureDocument.load(file))
    except SchemaError as error:
        raise UsageError(str(error)) from error


def named_space(name: str) -> SearchSpace:
    """``nasbench201``, or the space of a run file. Raises NotFoundError or UsageError."""
    if name == "nasbench201":
        from archspace import NasBench201Space

        return NasBench201Space()
    if not Path(name).is_file():
        raise NotFoundError(f"--space: expected nasbench201 or a run file (YAML), got {name!r}")
    return config_space(Path(name))


def config_space(config: Path) -> SearchSpace:
    """The space of a run file."""
    from service.config_file import read_mapping, validate
    from service.data_and_space import load_dataset, make_space
    from service.run_config import RunConfig

    checked = validate(RunConfig, read_mapping(config), str(config))
    return make_space(checked, None if checked.data is None else load_dataset(checked))


@contextmanager
def naming(architecture: Path, device_path: Path) -> Iterator[None]:
    """Errors about what the device file does not know say which two files do not fit together."""
    from latency_models import DeviceFileError

    try:
        yield
    except DeviceFileError as error:
        raise UsageError(
            f"{architecture} cannot be predicted with {device_path}: {error}"
        ) from error
