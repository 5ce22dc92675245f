"""The run directory: made before anything heavy is imported, locked while a process works in it."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from archspace import new_folder, sqlite_url, write_atomic
from service.deployment import LEDGER, Deployment
from service.errors import (
    ConflictError,
    DamagedError,
    InUseError,
    NetlatheError,
    NotFoundError,
    UsageError,
)

FORMAT = 1
"""Layout of run directories; grows when an older program could no longer resume a run."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

FITTED = ".safetensors"
"""How the files of devices fitted to a table end; profiled ones are JSON."""

# What a run's numbers depend on: resuming under other versions may diverge, so it is said.
PINNED = ("netlathe", "torch", "numpy", "stable-baselines3", "sb3-contrib", "optuna", "onnxruntime")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside one run directory.

    Attributes:
        database: URL of the ledger of a run that has it elsewhere; None: as the environment says.
    """

    path: Path
    database: str | None = None

    @property
    def run_file(self) -> Path:
        return self.path / "run.yaml"

    @property
    def device_file(self) -> Path:
        """The device fitted to a table where the run has one, else the profiled one, there or still to be written."""
        fitted = self.path / f"device{FITTED}"
        return fitted if fitted.is_file() else self.path / "device.json"

    @property
    def ledger_file(self) -> Path:
        """The ledger, unless it is in a database elsewhere."""
        return self.path / "ledger.db"

    @property
    def ledger_note(self) -> Path:
        """Says that the run's ledger is in a database elsewhere."""
        return self.path / "ledger-is-elsewhere.txt"

    @property
    def ledger_is_elsewhere(self) -> bool:
        return self.ledger_note.is_file()

    @property
    def ledger_url(self) -> str:
        """Raises UsageError where the ledger is in a database, and nobody says in which."""
        if not self.ledger_is_elsewhere:
            return sqlite_url(self.ledger_file)
        url = self.database or Deployment.here().ledger_url
        if url is None:
            raise UsageError(
                f"the ledger of {self.path} is in a database: set {LEDGER} to its URL, or the job "
                "verbs' --store"
            )
        return url

    @property
    def ledger_scope(self) -> str:
        """Whose the ledger's rows are, where several runs share a database."""
        return self.path.name if self.ledger_is_elsewhere else ""

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def teacher(self) -> Path:
        """A teacher's answers, where children have one."""
        return self.path / "teacher"

    @property
    def supernet(self) -> Path:
        """Weights that all networks share, and how far their training is, where the lowest rung has them."""
        return self.path / "supernet.safetensors"

    @property
    def compressed(self) -> Path:
        """The compressed export, where the config has a plan."""
        return self.path / "compressed"

    @property
    def compression(self) -> Path:
        """Finished steps and report of the compression."""
        return self.path / "compression"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"


def installed_versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    found = {}
    for name in PINNED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def create_run(
    path: Path, config: Mapping[str, Any], seed: int, device_file: Path | None = None
) -> RunFolder:
    """Make the folder, whole or not at all: ``run.yaml``, and a copy of `device_file` if given.

    Raises:
        ConflictError: something is already there.
        NetlatheError: the folder cannot be written.
    """
    folder = RunFolder(path)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            hint = f"`netlathe resume {path}` goes on with it" if folder.run_file.exists() else ""
            raise ConflictError(f"{path} already exists; choose another --out. {hint}".rstrip())
        with new_folder(path) as made:
            if Deployment.here().ledger_url is not None:
                note = f"{LEDGER} names the database of this run's ledger.\n"
                write_atomic(RunFolder(made).ledger_note, note)
            if device_file is not None:
                suffix = FITTED if device_file.suffix == FITTED else ".json"
                write_atomic(made / f"device{suffix}", device_file.read_bytes())
            write_run_file(RunFolder(made), config, seed, frozen=None)
    except OSError as error:
        raise NetlatheError(f"cannot write the run folder {path}: {error}") from error
    return folder


def write_run_file(
    folder: RunFolder, config: Mapping[str, Any], seed: int, frozen: Mapping[str, Any] | None
) -> None:
    """Write ``run.yaml`` whole or not at all. `frozen` holds what was derived once and must not change."""
    content = {
        "format": FORMAT,
        "versions": installed_versions(),
        "seed": seed,
        "frozen": dict(frozen) if frozen is not None else None,
        "config": dict(config),
    }
    text = "# Written by netlathe; resuming reads it, nothing here is meant to be edited.\n"
    write_atomic(folder.run_file, text + yaml.safe_dump(content, sort_keys=False))


@dataclass(frozen=True, slots=True)
class RunFile:
    """Contents of ``run.yaml``."""

    config: dict[str, Any]
    seed: int
    frozen: dict[str, Any] | None
    versions: dict[str, str]


def open_run(path: Path) -> tuple[RunFolder, RunFile]:
    """An existing run.

    Raises:
        NotFoundError: not a run directory.
        DamagedError: ``run.yaml`` cannot be read.
        UsageError: from another version's layout.
    """
    folder = RunFolder(path)
    if not folder.run_file.is_file():
        raise NotFoundError(f"{path} is not a run: it has no run.yaml")
    try:
        data = yaml.safe_load(folder.run_file.read_text(encoding="utf-8"))
        found = data["format"]
        run = RunFile(data["config"], int(data["seed"]), data["frozen"], dict(data["versions"]))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder.run_file} is damaged: {error!r}") from error
    if found != FORMAT:
        raise UsageError(
            f"{path} has layout {found}, this netlathe reads layout {FORMAT}: "
            f"use the version that wrote it (netlathe {run.versions.get('netlathe', '?')})"
        )
    return folder, run


def version_differences(run: RunFile) -> list[str]:
    """ "torch 2.12.0 → 2.13.0" for everything that is not as it was when the run started."""
    now = installed_versions()
    return [
        f"{name} {then} → {now[name]}"
        for name, then in run.versions.items()
        if name in now and now[name] != then
    ]


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold the run for this process. Raises InUseError where another process has it."""
    with (folder.path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"{folder.path} is in use by another netlathe process") from None
        yield


def default_path(name: str, seed: int, root: Path) -> Path:
    """First free of ``root/<name>-s<seed>``, ``…-2``, ``…-3``…"""
    base = f"{name}-s{seed}"
    if not NAME.fullmatch(base):
        raise UsageError(f"name {name!r}: expected lower-case letters, digits and dashes")
    candidates = (root / (base if i == 1 else f"{base}-{i}") for i in range(1, 10_000))
    return next(path for path in candidates if not path.exists())
