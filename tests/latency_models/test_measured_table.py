import os
from pathlib import Path

import pandas as pd
import pytest

from latency_models import MeasuredTable, TableError


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arch_str": ["a", "b", "c"],
            "acc": [90, 91, 92],
            "ms": [1.5, None, 2.5],
            "note": list("xyz"),
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_reads_numbers_and_what_is_missing(tmp_path: Path, frame: pd.DataFrame, name: str) -> None:
    table = MeasuredTable.read(write(frame, tmp_path / name), columns=["acc", "ms"])
    assert table.columns == ("acc", "ms")
    assert table.value("a", "ms") == 1.5
    assert table.value("b", "ms") is None
    assert table.value("nobody", "acc") is None
    assert table.rows("b") == {"acc": 91.0, "ms": None}
    assert table.labels() == ("a", "b", "c")
    assert table.labels("ms") == ("a", "c")
    assert table.range_of("ms") == (1.5, 2.5)
    assert len(table) == 3


def test_digest_follows_the_numbers_not_the_file(tmp_path: Path, frame: pd.DataFrame) -> None:
    first = MeasuredTable.read(write(frame, tmp_path / "a.csv"), columns=["acc", "ms"])
    other = MeasuredTable.read(
        write(frame.iloc[::-1], tmp_path / "b.parquet"), columns=["ms", "acc"]
    )
    assert first.digest == other.digest
    frame.loc[0, "ms"] = 1.25
    changed = MeasuredTable.read(write(frame, tmp_path / "c.csv"), columns=["acc", "ms"])
    assert changed.digest != first.digest


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize(
    ("columns", "label_column", "message"),
    [
        (["accc"], "arch_str", "no column accc; did you mean acc"),
        (["zzz"], "arch_str", "it has arch_str, acc, ms, note"),
        (["acc"], "arch", "no column arch; did you mean arch_str"),
        (["note"], "arch_str", "note of a is 'x'; expected a number"),
    ],
)
def test_wrong_columns(
    tmp_path: Path,
    frame: pd.DataFrame,
    name: str,
    columns: list[str],
    label_column: str,
    message: str,
) -> None:
    path = write(frame, tmp_path / name)
    with pytest.raises(TableError, match=message):
        MeasuredTable.read(path, columns=columns, label_column=label_column)


def test_wrong_files(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="no such file"):
        MeasuredTable.read(tmp_path / "none.csv", columns=["acc"])
    for name in ("broken.parquet", "broken.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 nonsense")
        with pytest.raises(TableError, match=name):
            MeasuredTable.read(tmp_path / name, columns=["acc"])
    (tmp_path / "t.xlsx").write_bytes(b"")
    with pytest.raises(TableError, match=r"ends in \.parquet or \.csv"):
        MeasuredTable.read(tmp_path / "t.xlsx", columns=["acc"])
    twice = write(pd.concat([frame, frame]), tmp_path / "twice.csv")
    with pytest.raises(TableError, match="arch_str a stands there twice"):
        MeasuredTable.read(twice, columns=["acc"])
    empty = write(frame.iloc[:0], tmp_path / "empty.csv")
    with pytest.raises(TableError, match="no rows"):
        MeasuredTable.read(empty, columns=["acc"])
    frame.loc[0, "ms"] = float("inf")
    with pytest.raises(TableError, match="expected a finite number"):
        MeasuredTable.read(write(frame, tmp_path / "inf.parquet"), columns=["ms"])


def test_columns_that_were_not_read(tmp_path: Path, frame: pd.DataFrame) -> None:
    table = MeasuredTable.read(write(frame, tmp_path / "t.csv"), columns=["acc"])
    with pytest.raises(TableError, match="without column ms"):
        table.value("a", "ms")
    frame["ms"] = None
    empty = MeasuredTable.read(write(frame, tmp_path / "e.csv"), columns=["ms"])
    with pytest.raises(TableError, match="holds no number"):
        empty.range_of("ms")


def test_nas_bench_201() -> None:
    path = Path(os.environ.get("NETLATHE_BENCH_DATA", "../shared/data")) / "nb201_dev.parquet"
    if not path.is_file():
        pytest.skip("no benchmark data here")
    table = MeasuredTable.read(path, columns=["c10_val_200", "latency_edgegpu_ms"])
    assert len(table) == 15625
    assert len(table.labels("latency_edgegpu_ms")) == 12555
    assert table.range_of("c10_val_200")[1] == pytest.approx(91.61, abs=0.01)
