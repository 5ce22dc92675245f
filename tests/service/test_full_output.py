"""Exit codes of a command line that can write nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import DiskFullError, NotFoundError
from tests.service.command_line import netlathe

FULL = Path("/dev/full")

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def code(*arguments: object, stdout: Path, stderr: Path) -> int:
    with stdout.open("wb") as out, stderr.open("wb") as error:
        command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
        return subprocess.run(command, stdout=out, stderr=error, check=False).returncode


def test_a_result_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    done = netlathe("init", "--help")
    assert done.returncode == 0
    log = tmp_path / "log"
    assert code("init", "--help", stdout=FULL, stderr=log) == DiskFullError.exit_code
    assert "netlathe: [Errno 28] No space left on device" in log.read_text()
    assert code("init", "--help", stdout=FULL, stderr=FULL) == DiskFullError.exit_code


def test_an_error_keeps_its_code_where_its_message_cannot_be_written(tmp_path: Path) -> None:
    nothing = ("status", "x", "--results", tmp_path)
    assert code(*nothing, stdout=FULL, stderr=FULL) == NotFoundError.exit_code
