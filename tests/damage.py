"""Files as a bad disk, a bad tool or a bad person leaves them, for Hypothesis."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st


@contextmanager
def at_most(*errors: type[Exception]) -> Iterator[None]:
    """Nothing is raised but these, and they say something."""
    said = "all is well"
    try:
        yield
    except errors as error:
        said = str(error)
    assert said


ODD = st.sampled_from(
    [
        None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, -0.0, 0.5, "", "\0", "../..", "x" * 5000, "\ud800", [], {}, [[]], [None],
        {"": None}, [1] * 500, json.loads("[" * 40 + "]" * 40),
    ]
)  # fmt: skip


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Bits flipped, bytes cut out, put in, or the end cut off."""
    for _ in range(draw(st.integers(1, 3))):
        # headers are where a reader can be led astray
        place = draw(st.integers(0, min(200, len(content))) | st.integers(0, len(content)))
        match draw(st.sampled_from(["flip", "cut", "insert", "end"])):
            case "flip" if place < len(content):
                flipped = content[place] ^ (1 << draw(st.integers(0, 7)))
                content = content[:place] + bytes([flipped]) + content[place + 1 :]
            case "cut":
                content = content[:place] + content[place + draw(st.integers(1, 20)) :]
            case "insert":
                content = (
                    content[:place] + draw(st.binary(min_size=1, max_size=9)) + content[place:]
                )
            case _:
                content = content[:place]
    return content


@st.composite
def damaged_json(draw: st.DrawFn, content: bytes) -> bytes:
    """Values dropped, replaced, renamed or doubled; numbers that are none; nesting without end."""
    data = copy.deepcopy(json.loads(content))
    for _ in range(draw(st.integers(1, 2))):
        node, key = draw(st.sampled_from(list(_places(data)) or [([data], 0)]))
        match draw(st.sampled_from(["drop", "replace", "replace", "nest", "rename"])):
            case "drop":
                del node[key]
            case "nest":
                node[key] = draw(st.sampled_from([[node[key]], {"a": node[key]}]))
            case "rename" if isinstance(node, dict):
                node[key + "x"] = node.pop(key)
            case _:
                node[key] = copy.deepcopy(draw(ODD))
    text = json.dumps(data)
    if draw(st.integers(0, 9)) == 0:
        spoilt = draw(st.sampled_from(["NaN", "1e400", "9" * 5000, "[" * 100_000, '{"a":' * 2000]))
        text = text.replace("1", spoilt, 1)
    return text.encode("utf-8", "surrogatepass")


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, inner in list(items):
        yield node, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
