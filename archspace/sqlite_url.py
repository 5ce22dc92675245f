"""How SQLAlchemy and Optuna are told of a database's file."""

from __future__ import annotations

from pathlib import Path

# what begins a query, an escape, and a field of Optuna's
_ESCAPED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%?{}"})


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file, whatever its path has in it."""
    return f"sqlite:///{str(path).translate(_ESCAPED)}"
