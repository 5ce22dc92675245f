"""Whatever a run file holds, it is taken or refused with a clear error, and soon."""

from __future__ import annotations

import copy
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.config_file import MAX_BYTES, apply_overrides, read_run, validate
from service.errors import NotFoundError, UsageError
from service.run_config import RunConfig
from tests.damage import at_most

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SECONDS = 2.0
"""CPU time; what is refused later keeps a server from its work."""
QUICK = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=2000)

VALUES = st.one_of(
    st.sampled_from(
        [
            None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, -0.0, float("nan"), float("inf"), "", "nan", "1e400", "\0", "../..",
            "/", "x" * 10_000, "\ud800", "=", "<<", [], {}, [[]], {"": None}, {1: 2}, {None: 1}, [None] * 100,
        ]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    ),
)  # fmt: skip
SNIPPETS = (
    b"&a ", b"*a", b"<<: ", b"!!python/object/apply:os.system [true]", b"!!binary x", b"!!set {a}", b"!!timestamp x", b"!!bool x",
    b"!!int ''", b"!!float .", b"!!omap [1]", b"? [a]\n: 1\n", b"? {a: 1}\n: 1\n", b"2001-99-99", b"2001-01-01 00:00:00 +99:99",
    b"\0", b"\xff", b"\t", b"---\n", b"...\n", b"%YAML 9.9\n", b"9" * 5000, b"1:" * 500 + b"1", b"[" * 200, b"{a: " * 200, b"- " * 200,
    b"1e400", b".nan", b".inf", b"0x", b"0b", b"|", b">", b"'", b'"', b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80", b'"\\ud800"', b"=: 1\n",
)  # fmt: skip


def taken_or_refused(path: Path) -> None:
    began = time.process_time()
    with at_most(UsageError, NotFoundError):
        validate(RunConfig, read_run(path, [], None), str(path))
    assert time.process_time() - began < SECONDS


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All paths into nested mappings and lists."""
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [at, *(place for key, inner in items for place in places(inner, (*at, key)))]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """The content of a run file with up to three settings dropped, replaced, nested, renamed or added."""
    data = copy.deepcopy(yaml.safe_load(draw(st.sampled_from(CONFIGS)).read_text()))
    for _ in range(draw(st.integers(1, 3))):
        found = places(data)[1:]
        if not found:
            break
        *parents, key = draw(st.sampled_from(found))
        node = data
        for parent in parents:
            node = node[parent]
        match draw(st.sampled_from(["drop", "replace", "nest", "add"])):
            case "drop":
                del node[key]
            case "nest":
                node[key] = draw(
                    st.sampled_from([[node[key]], {key: node[key]}, {"kind": node[key]}])
                )
            case "add" if isinstance(node, dict):
                name = draw(st.text(max_size=8) | st.integers() | st.none())
                node[name] = copy.deepcopy(draw(VALUES))
            case _:
                node[key] = copy.deepcopy(draw(VALUES))
    return data


@st.composite
def garbled(draw: st.DrawFn) -> bytes:
    """A run file with bytes cut out and others put in."""
    text = draw(st.sampled_from(CONFIGS)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 20)))
        text = text[:start] + draw(st.sampled_from(SNIPPETS) | st.binary(max_size=8)) + text[end:]
    return text


@QUICK
@given(data=changed())
def test_changed_settings(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    taken_or_refused(path)


@QUICK
@given(text=garbled())
def test_garbled_files(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text)
    taken_or_refused(path)


@pytest.mark.slow
@LONG
@given(data=changed())
def test_many_changed_settings(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    taken_or_refused(path)


@pytest.mark.slow
@LONG
@given(text=garbled())
def test_many_garbled_files(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text)
    taken_or_refused(path)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: repr(snippet[:20]))
@pytest.mark.parametrize("before", [b"name: x\ndata: ", b"", b"name: x\ndata:\n  "])
def test_what_yaml_has_in_store(tmp_path: Path, before: bytes, snippet: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(before + snippet)
    taken_or_refused(path)


@pytest.mark.parametrize(
    "unit", [b"a%d: 1\n", b"- %d\n", b"[%d", b"{a: [%d],", b"a%d: [[],{}]\n", b'"%d": "\\x41"\n']
)
def test_the_largest_files_take_no_longer(tmp_path: Path, unit: bytes) -> None:
    path = tmp_path / "run.yaml"
    lines = (unit % number for number in range(MAX_BYTES))
    path.write_bytes(b"".join(islice(lines, MAX_BYTES // len(unit % 100_000))))
    taken_or_refused(path)


@QUICK
@given(
    key=st.text(st.sampled_from("ab.0-=9 search"), max_size=12),
    value=st.sampled_from([s.decode("utf-8", "replace") for s in SNIPPETS]) | st.text(max_size=8),
)
def test_overrides(key: str, value: str) -> None:
    data = {"search": {"budget": 4, "controls": [{"name": "random"}]}, "a": [1, [2]], "b": None}
    with at_most(UsageError):
        apply_overrides(data, [f"{key}={value}"])
