"""A fitted device as a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from archspace import NasBench201Space
from latency_models import (
    ChoiceTable,
    DeviceFileChanged,
    DeviceFileError,
    FittedDevice,
    TableError,
    fit_device,
)
from tests.damage import at_most, damaged_bytes, damaged_json

SPACE = NasBench201Space()
RNG = np.random.default_rng(0)
CHOICES = np.array(list({tuple(row): None for row in RNG.integers(0, 5, (600, 6)).tolist()}))
COSTS = 1 + np.array([0.1, 0.3, 1.0, 2.5, 0.7])[CHOICES].sum(axis=1)
TABLE = ChoiceTable(
    CHOICES,
    {
        "noisy": COSTS * RNG.normal(1, 0.05, len(CHOICES)),
        "sparse": np.where(np.arange(len(CHOICES)) < 12, COSTS, np.nan),
        "rare": np.where(np.arange(len(CHOICES)) < 3, COSTS, np.nan),
        "other": 2 * COSTS,
    },
)


@pytest.fixture(scope="module")
def fitted() -> FittedDevice:
    return fit_device(SPACE, TABLE, "noisy", unit="ms")


def test_the_stated_error_is_that_of_fresh_measurements(fitted: FittedDevice) -> None:
    fresh = RNG.integers(0, 5, (3000, 6))
    truth = 1 + np.array([0.1, 0.3, 1.0, 2.5, 0.7])[fresh].sum(axis=1)
    predicted, std = fitted.model.predict_with_std(fresh)
    measured = truth * np.random.default_rng(3).normal(1, 0.05, len(fresh))
    error = np.abs(predicted / measured - 1)
    assert fitted.header.left_out.mape == pytest.approx(error.mean(), rel=0.15)
    assert fitted.header.coverage_90 == pytest.approx(
        (np.abs(predicted - measured) <= 1.645 * std).mean(), abs=0.04
    )


def test_saved_and_loaded_it_predicts_the_same(fitted: FittedDevice, tmp_path: Path) -> None:
    fitted.save(tmp_path / "d.safetensors")
    again = FittedDevice.load(tmp_path / "d.safetensors")
    assert again.header == fitted.header
    assert again.space.digest == SPACE.digest
    for one, two in zip(
        again.model.predict_with_std(CHOICES), fitted.model.predict_with_std(CHOICES), strict=True
    ):
        assert (one == two).all()


def test_a_number_that_changes_in_the_file_is_noticed(fitted: FittedDevice, tmp_path: Path) -> None:
    path = tmp_path / "device.safetensors"
    fitted.save(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # a bit of the last array
    path.write_bytes(bytes(content))
    with pytest.raises(DeviceFileChanged, match="not as they were written"):
        FittedDevice.load(path)


def test_few_rows_are_enough_with_help_and_too_few_are_refused() -> None:
    device = fit_device(SPACE, TABLE, "sparse", unit="mJ", references=["other"])
    assert device.header.num_measured == 12
    assert np.abs(device.model.predict(CHOICES) / COSTS - 1).mean() < 0.02
    with pytest.raises(TableError, match="at least 5"):
        fit_device(SPACE, TABLE, "rare", unit="ms")


def damaged(source: Path, target: Path, **changes: object) -> Path:
    from safetensors import safe_open

    with safe_open(source, framework="numpy") as opened:
        header = json.loads(opened.metadata()["netlathe"]) | changes
    save_file(load_file(source), target, metadata={"netlathe": json.dumps(header)})
    return target


def test_files_that_are_none(fitted: FittedDevice, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    fitted.save(good)
    with pytest.raises(DeviceFileError, match="schema_version 1, got 9"):
        FittedDevice.load(damaged(good, bad, schema_version=9))
    with pytest.raises(DeviceFileError, match="damaged at unit"):
        FittedDevice.load(damaged(good, bad, unit="s"))
    with pytest.raises(DeviceFileError, match="damaged at others"):
        FittedDevice.load(damaged(good, bad, others={"least": 1.0}))
    with pytest.raises(DeviceFileError, match="no device fitted"):
        FittedDevice.load(damaged(good, bad, kind="something"))
    bad.write_bytes(good.read_bytes()[:100])
    with pytest.raises(DeviceFileError, match="expected a device fitted by netlathe"):
        FittedDevice.load(bad)
    save_file({"weights": np.zeros(3)}, bad)
    with pytest.raises(DeviceFileError, match="no device fitted"):
        FittedDevice.load(bad)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_damaged_is_named(
    fitted: FittedDevice, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    fitted.save(path)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged_bytes(path.read_bytes())))
    else:
        header = data.draw(damaged_json(fitted.header.model_dump_json().encode()))
        save_file(load_file(path), path, metadata={"netlathe": header.decode("utf-8", "replace")})
    with at_most(DeviceFileError):
        FittedDevice.load(path).model.predict_with_std(CHOICES[:3])


@pytest.mark.parametrize(
    ("name", "array"),
    [("factor", np.zeros((3, 2), np.float32)), ("centre", np.zeros(1, np.float32)), ("weights", np.zeros((30, 2)))],
)  # fmt: skip
def test_arrays_that_do_not_fit(
    fitted: FittedDevice, tmp_path: Path, name: str, array: np.ndarray
) -> None:
    path = tmp_path / "d.safetensors"
    fitted.save(path)
    metadata = {"netlathe": fitted.header.model_dump_json()}
    save_file({**load_file(path), name: array}, path, metadata=metadata)
    with pytest.raises(DeviceFileError, match="do not fit"):
        FittedDevice.load(path)
