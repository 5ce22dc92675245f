"""Checks an export: are all its forms the same network, and is it what was written?

The generated ``model.py`` runs in a process of its own that cannot import Netlathe. ONNX Runtime and
`build_module` run here. Three independent builds, one answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy import files
from deploy.errors import DeployError, ExportNotFound
from deploy.verify_files import (
    check_architecture,
    check_checksums,
    check_code,
    check_config,
    check_files,
    check_onnx,
    check_weights_file,
)
from deploy.verify_int8 import check_int8, check_quantisation
from deploy.verify_outputs import (
    TOLERANCE,
    Rebuilt,
    check_counts,
    check_exits,
    check_isolation,
    check_outputs,
    rebuild,
)
from deploy.verify_packed import check_packed


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says what was found, or what is wrong."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class FileHash:
    """A file of the export as it is now."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Outcome of `verify_export`.

    Attributes:
        directory: what was checked.
        checks: in the order in which they ran; after a failure, those that need its result are left out.
        files: hashes of the files that are there.
        tolerance: outputs a and b agree if |a - b| ≤ tolerance · max |b| + 10⁻⁶.
    """

    directory: str
    checks: tuple[Check, ...]
    files: tuple[FileHash, ...]
    tolerance: float = TOLERANCE

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)


class _StopChecking(Exception):
    """A check failed whose result others need."""


class _Checks:
    """Collects outcomes. `run` goes on after a failure, `need` does not."""

    def __init__(self) -> None:
        self.done: list[Check] = []

    def run(self, name: str, check: Callable[[], str]) -> None:
        """Record what `check` returns as the detail, or its DeployError as a failure."""
        try:
            self.done.append(Check(name, True, check()))
        except DeployError as error:
            self.done.append(Check(name, False, str(error)))

    def need(self, name: str, check: Callable[[], str]) -> None:
        self.run(name, check)
        if not self.done[-1].ok:
            raise _StopChecking


def verify_export(directory: Path, *, timeout_s: float = 300.0) -> VerifyReport:
    """Check everything in an export that `export_architecture` wrote.

    ``model.py`` is code: it is run only if it is, byte for byte, what this version of Netlathe writes for
    ``architecture.json``.

    Args:
        directory: the export.
        timeout_s: how long the clean process may take.

    Raises:
        ExportNotFound: there is no such folder. (All else that can be wrong is a failed check.)
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ExportNotFound(f"{directory}: no such folder; expected one that an export wrote")
    checks = _Checks()
    with suppress(_StopChecking):
        _run_all(directory, checks, timeout_s)
    return VerifyReport(str(directory), tuple(checks.done), _hashes(directory))


def _run_all(directory: Path, checks: _Checks, timeout_s: float) -> None:
    checks.need("files", lambda: check_files(directory))
    checks.run("checksums", lambda: check_checksums(directory))
    checks.need("architecture", lambda: check_architecture(directory))
    document = files.read_document(directory)
    checks.run("config", lambda: check_config(directory, document))
    checks.need("weights", lambda: check_weights_file(directory, document))
    checks.need("onnx", lambda: check_onnx(directory, document))
    checks.need("code", lambda: check_code(directory, document))
    rebuilt: list[Rebuilt] = []

    def run_clean() -> str:
        rebuilt.append(rebuild(directory, document, timeout_s))
        return check_isolation(rebuilt[0])

    checks.need("clean process", run_clean)
    checks.run("parameters and MACs", lambda: check_counts(rebuilt[0], document))
    checks.run("outputs", lambda: check_outputs(rebuilt[0], document, directory))
    checks.run("early exits", lambda: check_exits(rebuilt[0], document))
    if files.optional_here(directory):
        checks.need("quantisation", lambda: check_quantisation(directory, document))
        checks.run("int8", lambda: check_int8(directory, document))
        checks.run("packed", lambda: check_packed(directory, document))


def _hashes(directory: Path) -> tuple[FileHash, ...]:
    paths = [directory / name for name in sorted((*files.EXPORT_FILES, *files.OPTIONAL))]
    return tuple(
        FileHash(path.name, path.stat().st_size, files.sha256(path))
        for path in paths
        if path.is_file() and not path.is_symlink()
    )
