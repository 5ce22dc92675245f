"""The command line in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def netlathe(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What became of it; it may take five minutes."""
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        check=False,
    )
