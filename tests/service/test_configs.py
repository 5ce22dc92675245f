"""Every config that ships can be loaded, and is what its comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config_file import apply_overrides, read_mapping, validate
from service.errors import UsageError
from service.run_config import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


def load(path: Path, *overrides: str) -> RunConfig:
    return validate(RunConfig, apply_overrides(read_mapping(path), overrides), str(path))


def test_all_six_are_there() -> None:
    assert [path.stem for path in FILES] == [
        "cluster",
        "digits-quick",
        "digits",
        "image-folder",
        "nasbench201-table",
        "shapes",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loads(path: Path) -> None:
    config = load(path)
    assert config.search.strategy.name == "ppo"


def test_resolved_config_loads_again() -> None:
    config = load(CONFIGS / "image-folder.yaml")
    again = validate(RunConfig, config.model_dump(mode="json"), "again")
    assert again == config


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("search.budgte=3", "did you mean 'budget'"),
        ("space.opperations=[zero]", "did you mean 'operations'"),
        ("space.operations=[dwconv_k4]", "dwconv_k"),
        ("search.budget=0", "search.budget"),
        ("search.budget=.nan", "search.budget"),
        ("space.keep_ratios=[2.0]", "keep_ratios"),
        ("data.kind=digit", "data"),
        ("search.strategy.name=pppo", "search.strategy"),
        ("search.controls=[{name: ppo}]", "ppo"),
        ("name=../../etc", "name"),
        ("data=null", "data is missing"),
    ],
)
def test_faults_are_named(override: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        load(CONFIGS / "digits.yaml", override)
