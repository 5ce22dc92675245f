"""Tables: both ways of naming architectures, and everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archspace import NasBench201Space, Shape, StagedSpace, StagedSpaceConfig
from latency_models import ChoiceTable, TableError

CELLS = NasBench201Space()
ROWS = [(0, 1, 2, 3, 4, 0), (1, 1, 1, 1, 1, 1), (3, 3, 3, 3, 3, 3)]


def frame(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"arch_str": [CELLS.arch_str(row) for row in ROWS], **columns})


def write(path: Path, data: pd.DataFrame) -> Path:
    if path.suffix == ".csv":
        data.to_csv(path, index=False)
    else:
        data.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_arch_strings(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, frame(a=[1.5, None, 2], b=[3.0, 4.0, 5.0], note=["x", "y", "z"]))
    table = ChoiceTable.read(path, CELLS, ["a", "b"])
    assert table.choices.tolist() == [list(row) for row in ROWS]
    assert np.isnan(table.columns["a"]).tolist() == [False, True, False]
    assert table.columns["b"].tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_column_for_each_decision(tmp_path: Path, name: str) -> None:
    config = StagedSpaceConfig.model_validate(
        {"stem_channels": 8, "stages": [{"channels": 8, "layers": 1, "stride": 2}] * 2}
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    rng = np.random.default_rng(0)
    choices = list({space.sample(rng): None for _ in range(20)})
    data = pd.DataFrame([space.named(row) for row in choices]).assign(ms=1.0)
    table = ChoiceTable.read(write(tmp_path / name, data), space, ["ms"])
    assert table.choices.tolist() == [list(row) for row in choices]


def test_cells_by_decision(tmp_path: Path) -> None:
    data = pd.DataFrame([CELLS.named(row) for row in ROWS]).assign(ms=2.0)
    assert len(ChoiceTable.read(write(tmp_path / "t.csv", data), CELLS, ["ms"]).choices) == 3


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, 0.0, 2.0], r"a of \|skip_connect.* is 0.0; expected a number above 0"),
        ([1.0, -3.0, 2.0], r"is -3.0; expected a number above 0"),
        ([1.0, float("inf"), 2.0], "is inf; expected"),
        (["1.0", "fast", "2.0"], "is 'fast'; expected"),
        ([None, None, None], "holds no number"),
    ],
)
def test_costs_that_are_none(tmp_path: Path, name: str, column: list[object], message: str) -> None:
    with pytest.raises(TableError, match=message):
        ChoiceTable.read(write(tmp_path / name, frame(a=column)), CELLS, ["a"])


def test_a_misspelt_architecture_column_or_choice(tmp_path: Path) -> None:
    data = frame(latency_a=[1.0, 2.0, 3.0])
    with pytest.raises(TableError, match="did you mean latency_a"):
        ChoiceTable.read(write(tmp_path / "a.csv", data), CELLS, ["latency_b"])
    data.loc[1, "arch_str"] = data.loc[1, "arch_str"].replace("skip_connect", "skip_conect", 1)
    with pytest.raises(TableError, match=r"row 2: .*did you mean 'skip_connect'"):
        ChoiceTable.read(write(tmp_path / "b.csv", data), CELLS, ["latency_a"])
    named = pd.DataFrame([CELLS.named(row) for row in ROWS]).assign(ms=2.0)
    named.loc[2, "cell.edge0_2"] = "nor_conv_3x4"
    with pytest.raises(TableError, match=r"row 3: cell.edge0_2 .*did you mean nor_conv_3x3"):
        ChoiceTable.read(write(tmp_path / "c.csv", named), CELLS, ["ms"])
    with pytest.raises(TableError, match="neither a column arch_str nor one for each decision"):
        ChoiceTable.read(write(tmp_path / "d.csv", pd.DataFrame({"ms": [1.0]})), CELLS, ["ms"])


def test_an_architecture_twice_and_none_at_all(tmp_path: Path) -> None:
    data = frame(a=[1.0, 2.0, 3.0])
    twice = pd.concat([data, data.iloc[:1]])
    with pytest.raises(TableError, match=r"row 4\) stands in row 1 already"):
        ChoiceTable.read(write(tmp_path / "a.csv", twice), CELLS, ["a"])
    with pytest.raises(TableError, match="no rows"):
        ChoiceTable.read(write(tmp_path / "b.csv", data.iloc[:0]), CELLS, ["a"])
