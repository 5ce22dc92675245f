"""A config whose networks cost so different amounts that even a busy machine can tell them apart."""

from __future__ import annotations

from pathlib import Path


def write_wide_config(folder: Path) -> Path:
    """Writes ``wide.yaml``."""
    path = folder / "wide.yaml"
    path.write_text(
        "name: wide\ndata: {kind: digits}\nspace:\n  kind: staged\n  stem_channels: 16\n"
        "  operations: [conv_k3, conv_k5, dwconv_k3, identity]\n  stages:\n"
        "    - {channels: 64, layers: 2}\n    - {channels: 128, layers: 2, stride: 2}\n"
    )
    return path
