"""How a job's process ends: its own failures with a code that no library uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.jobs.child import FAILED

_RUN = """
import sys
from service import cli
from service.jobs import child

def main(*, for_server):
    {body}

cli.main = main
child.main()
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(1)", FAILED),
        ("sys.exit(8)", 8),
        ("raise KeyError('a bug')", FAILED),
        ("import os; os._exit(1)", 1),
    ],
)
def test_exit_codes(body: str, code: int) -> None:
    command = [sys.executable, "-c", _RUN.format(body=body)]
    pipe = subprocess.PIPE  # stays open: its end is the server's
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True) as process:
        assert process.wait(timeout=60) == code
        assert process.stderr is not None
        assert ("KeyError: 'a bug'" in process.stderr.read()) == ("KeyError" in body)
