"""Run files: what is refused, and that the message helps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from service.config_file import MAX_BYTES, apply_overrides, read_mapping, validate
from service.errors import NotFoundError, UsageError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["inner"] = "inner"
    budget: int = Field(1, ge=1)


class Other(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["other"]
    height: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    search: Inner = Inner()
    either: Inner | Other = Field(default=Inner(), discriminator="kind")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_reads_a_mapping(tmp_path: Path) -> None:
    assert read_mapping(write(tmp_path, "a: 1\nb: {c: x}\n")) == {"a": 1, "b": {"c": "x"}}


def test_missing_file_names_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("a: 1")
    with pytest.raises(NotFoundError, match=r"did you mean 'digits\.yaml'"):
        read_mapping(tmp_path / "digit.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- 1\n- 2\n", "expected a mapping"),
        ("a: [1", "not a readable YAML"),
        ("a: 1\na: 2\n", "key given twice"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: !!python/object/apply:os.system [true]\n", "not a readable YAML"),
        ("a: " + "[" * 5000, "not a readable YAML"),
    ],
)
def test_refuses_what_is_no_run_file(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        read_mapping(write(tmp_path, text))


def test_refuses_large_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="larger than"):
        read_mapping(write(tmp_path, "#" * (MAX_BYTES + 1)))


def test_overrides_set_nested_values_and_leave_the_input_alone() -> None:
    data = {"search": {"budget": 4, "controls": [{"name": "random"}]}}
    result = apply_overrides(
        data, ["search.budget=9", "search.controls.0.name=tpe", "limits.latency_ms=2.5"]
    )
    assert result == {
        "search": {"budget": 9, "controls": [{"name": "tpe"}]},
        "limits": {"latency_ms": 2.5},
    }
    assert data["search"]["budget"] == 4


@pytest.mark.parametrize("override", ["search.budget", "=3", "search.budget.deep=1", "list.7=1"])
def test_bad_overrides_are_refused(override: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        apply_overrides({"search": {"budget": 4}, "list": [1]}, [override])


def test_misspelt_keys_get_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"search\.budgte: unknown key; did you mean 'budget'"):
        validate(Outer, {"name": "x", "search": {"budgte": 3}}, "run.yaml")


def test_misspelt_keys_in_a_tagged_union_get_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"heigth: unknown key; did you mean 'height'"):
        validate(Outer, {"name": "x", "either": {"kind": "other", "heigth": 3}}, "run.yaml")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        validate(Outer, {"search": {"budget": 0}}, "run.yaml")
    assert "name: missing" in str(caught.value)
    assert "search.budget" in str(caught.value)
