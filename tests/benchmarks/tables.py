"""Reads what benchmarks print."""

from __future__ import annotations


def cells(text: str, name: str) -> list[str]:
    """Of the last row of that name, without the name."""
    line = [line for line in text.splitlines() if line.startswith(f"| {name} |")][-1]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]
