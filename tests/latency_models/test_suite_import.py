"""From measurements made elsewhere to a device file, and what is refused on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import Network, StagedSpace
from latency_models import (
    CostModelRefused,
    Device,
    DeviceConfig,
    DeviceFile,
    DeviceUnavailable,
    ImportedSuite,
    MeasuringFailed,
    SuiteError,
    SuiteManifest,
    import_suite,
    reference_network,
    write_suite,
)
from latency_models.quality import fit_quality
from latency_models.runners import load_runner
from tests.latency_models.suite_samples import SMALL, Row, measured_rows, write_table

REFERENCE = "onnx/reference.onnx"


@pytest.fixture(scope="module")
def suite(space: StagedSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suites") / "suite"
    write_suite(space, folder, SMALL)
    return folder


@pytest.fixture
def rows(suite: Path, make_machine: Any) -> list[Row]:
    return measured_rows(suite, make_machine().true_ms)


@pytest.fixture
def bring_back(suite: Path, tmp_path: Path) -> Callable[[list[Row]], ImportedSuite]:
    def bring(rows: list[Row]) -> ImportedSuite:
        path = write_table(tmp_path / "filled.csv", rows)
        return import_suite(suite, name="phone", measurements=path)

    return bring


def test_learns_a_device_with_noise_and_drift(
    suite: Path, space: StagedSpace, make_machine: Any, bring_back: Any
) -> None:
    machine = make_machine(quirk=0.02)
    rows = measured_rows(suite, machine.true_ms, speed=lambda t: 1 + 0.3 * t, noise=0.01)
    imported = bring_back(rows)
    file, report = imported.device_file, imported.device_file.report
    rng = np.random.default_rng(99)
    fresh = [space.resolve(space.sample(rng)) for _ in range(100)]
    scale = report.reference_ms / machine.true_ms(reference_network())
    truth = [scale * machine.true_ms(network) for network in fresh]
    predicted = [c.latency_ms[-1].value for c in file.cost_model().predict(fresh)]
    quality = fit_quality(predicted, truth)
    assert quality.spearman > 0.97
    assert quality.mape < 0.05
    assert report.ceiling_mape < 0.03
    assert report.drift == pytest.approx(0.3, abs=0.05)
    assert (imported.num_rows, imported.num_dropped, imported.num_missing) == (len(rows), 0, 0)
    assert (report.num_held_out, report.num_fit, report.num_blocks_measured) == (16, 40, 40)
    assert report.energy_source == "estimated"


def test_a_steady_drift_cancels_exactly(suite: Path, make_machine: Any, bring_back: Any) -> None:
    machine = make_machine(quirk=0.0)
    rows = measured_rows(suite, machine.true_ms, speed=lambda t: 1 + t)
    file = bring_back(rows).device_file
    scale = file.report.reference_ms / machine.true_ms(reference_network())
    held_out = SuiteManifest.load(suite).of_role("held_out")
    truth = [scale * machine.true_ms(each.resolve()) for each in held_out]
    assert [pair.measured_ms for pair in file.held_out] == pytest.approx(truth, rel=1e-9)
    assert file.report.ceiling_mape < 1e-9


def test_the_device_file_is_one_like_others_but_measures_nothing(
    suite: Path, tmp_path: Path, rows: list[Row], networks: list[Network]
) -> None:
    path = write_table(tmp_path / "filled.csv", rows)
    imported = import_suite(
        suite, name="phone", measurements=path, processor="A7", runtime="TFLite", threads=4
    )
    imported.device_file.save(tmp_path / "device.json")
    file = DeviceFile.load(tmp_path / "device.json")
    assert file == imported.device_file
    assert file.imported
    device = file.device
    assert (device.name, device.processor, device.runtime) == ("phone", "A7", "external")
    assert (device.external_runtime, device.threads, device.batch_size) == ("TFLite", 4, 1)
    with pytest.raises(MeasuringFailed, match="this device file was imported: phone is not here"):
        file.measure(networks)
    with pytest.raises(MeasuringFailed, match="its figures were imported"):
        load_runner(networks[0], device)


def test_external_cannot_be_measured_here() -> None:
    with pytest.raises(DeviceUnavailable, match="netlathe latency import"):
        Device.here(DeviceConfig(runtime="external"))
    with pytest.raises(DeviceUnavailable, match=r"set device\.runtime"):
        Device.here(DeviceConfig(accelerator="unknown"))


def test_rows_where_the_reference_jumps_are_left_out_and_counted(
    suite: Path, rows: list[Row], bring_back: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for row in rows[40:]:  # between the references at 32 and 48
        row["latency_ms"] = repr(1.2 * float(row["latency_ms"]))
    with caplog.at_level(logging.WARNING):
        imported = bring_back(rows)
    references = -(-len(rows) // 16) + (len(rows) % 16 != 1)
    assert imported.num_dropped == 15
    assert f"15 of {len(rows) - references} rows are left out" in caplog.text
    assert imported.device_file.report.ceiling_mape < 1e-9


def test_a_change_of_less_than_fifteen_per_cent_leaves_nothing_out(
    rows: list[Row], bring_back: Any
) -> None:
    for row in rows[40:]:
        row["latency_ms"] = repr(1.14 * float(row["latency_ms"]))
    assert bring_back(rows).num_dropped == 0


def test_failed_networks_are_counted(rows: list[Row], bring_back: Any) -> None:
    names = sorted({row["file"] for row in rows if "network-" in row["file"]})[:5]
    for row in rows:
        if row["file"] in names:
            row["latency_ms"] = ""
    imported = bring_back(rows)
    assert imported.num_missing == imported.device_file.report.num_failed == 5
    assert imported.device_file.report.num_fit == 35


def test_energies_are_fitted_where_they_were_filled_in(
    suite: Path, make_machine: Any, bring_back: Any, networks: list[Network]
) -> None:
    machine = make_machine(quirk=0.0)
    file = bring_back(measured_rows(suite, machine.true_ms, watts=3.0)).device_file
    assert file.report.energy_source == file.energy_model.reader == "imported"
    for network, costs in zip(networks, file.cost_model().predict(networks), strict=True):
        energy = costs.energy_mj[-1]
        assert energy.source == "predicted"
        assert energy.value == pytest.approx(3.0 * machine.true_ms(network), rel=0.15)


def test_too_few_energies_are_refused(rows: list[Row], bring_back: Any) -> None:
    for row in [r for r in rows if "network-" in r["file"]][:7]:
        row["energy_mj"] = row["latency_ms"]
    with pytest.raises(SuiteError, match="column energy_mj: expected figures of at least 8"):
        bring_back(rows)


def test_a_table_without_energies_may_lack_the_column(rows: list[Row], bring_back: Any) -> None:
    for row in rows:
        del row["energy_mj"]
    assert bring_back(rows).device_file.energy_model.source == "estimated"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("latency_ms", "fast", "row 21, column latency_ms: expected a number above 0"),
        ("latency_ms", "0", "row 21, column latency_ms: .* got '0'"),
        ("latency_ms", "-1.5", "row 21, column latency_ms: .* got '-1.5'"),
        ("latency_ms", "inf", "row 21, column latency_ms: .* got 'inf'"),
        ("latency_ms", "1e999", "row 21, column latency_ms: .* got '1e999'"),
        ("latency_ms", "NaN", "row 21, column latency_ms: .* got 'NaN'"),
        ("latency_ms", "0,125", "row 21, column latency_ms: .* with a point"),
        ("latency_ms", "1_0", "row 21, column latency_ms: .* got '1_0'"),
        ("energy_mj", "none", "row 21, column energy_mj: expected a number above 0"),
        ("file", "onnx/other.onnx", "row 21, column file: 'onnx/other.onnx' is not in this suite"),
        ("run", "0", "row 21, column run: expected a whole number from 1, got '0'"),
        ("run", "first", "row 21, column run: expected a whole number"),
    ],
)
def test_cells_that_cannot_be(
    rows: list[Row], bring_back: Any, column: str, value: str, message: str
) -> None:
    rows[19][column] = value
    with pytest.raises(SuiteError, match=message):
        bring_back(rows)


def test_a_row_that_stands_twice(rows: list[Row], bring_back: Any) -> None:
    rows[30] = dict(rows[29])
    with pytest.raises(SuiteError, match=r"row 32: .* stands in row 31 already"):
        bring_back(rows)


def test_an_energy_without_a_latency(rows: list[Row], bring_back: Any) -> None:
    rows[19] |= {"latency_ms": "", "energy_mj": "1"}
    with pytest.raises(SuiteError, match="row 21: an energy without a latency"):
        bring_back(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: expected the columns file, run, latency_ms"),
        ("file;run;latency_ms\na;1;0,5\n", "row 1: expected cells separated by commas"),
        ("file,run,latency\n", "got file, run, latency"),
        ("file,run,latency_ms,energy_mJ\n", "got file, run, latency_ms, energy_mJ"),
        (f"file,run,latency_ms\n{REFERENCE},1,0,125\n", "row 2: expected 3 cells, got 4"),
        ('file,run,latency_ms\n"a', "expected UTF-8 text with commas"),
        (f"file,run,latency_ms\n{REFERENCE},1,\n", "expected at least 2 measured rows, got 0"),
    ],
)
def test_tables_that_are_not_right(suite: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "filled.csv").write_text(text)
    with pytest.raises(SuiteError, match=message):
        import_suite(suite, name="phone", measurements=tmp_path / "filled.csv")


def test_a_table_that_is_no_text(suite: Path, tmp_path: Path) -> None:
    (tmp_path / "filled.csv").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(SuiteError, match="expected UTF-8"):
        import_suite(suite, name="phone", measurements=tmp_path / "filled.csv")


def test_a_spreadsheet_s_byte_order_mark_and_line_ends(
    suite: Path, tmp_path: Path, rows: list[Row]
) -> None:
    path = write_table(tmp_path / "filled.csv", rows)
    assert b"\r\n" in path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert import_suite(suite, name="phone", measurements=path).num_rows == len(rows)


@pytest.mark.parametrize(
    ("role", "word", "message"),
    [
        ("held-out", "held_out", "at least 8 of 16 files measured in 2 runs each, got 3"),
        ("network", "network", "at least 8 of 40 files measured, got 3"),
        ("block", "block", "at least 8 of 40 files measured, got 3"),
        ("call", "call", "at least 1 of 1 files measured, got 0"),
    ],
)
def test_too_few_of_a_role(
    rows: list[Row], bring_back: Any, role: str, word: str, message: str
) -> None:
    names = sorted({row["file"] for row in rows if row["file"].startswith(f"onnx/{role}")})
    keep = set(names[:3]) if role != "call" else set()
    for row in rows:
        if row["file"] in set(names) - keep:
            row["latency_ms"] = ""
    with pytest.raises(SuiteError, match=f"of role {word}: expected {message}"):
        bring_back(rows)


def test_a_kind_of_layer_that_no_measured_block_holds(
    suite: Path, rows: list[Row], bring_back: Any
) -> None:
    grouped = {
        file.file
        for file in SuiteManifest.load(suite).of_role("block")
        if any(1 < layer.groups < layer.in_channels for layer in file.resolve().layers)
    }
    for row in rows:
        if row["file"] in grouped:
            row["latency_ms"] = ""
    with pytest.raises(SuiteError, match=r"no measured block holds conv_grouped.*onnx/block-"):
        bring_back(rows)


def test_a_constant_column(rows: list[Row], bring_back: Any) -> None:
    for row in rows:
        row["latency_ms"] = "1.0"
    with pytest.raises(SuiteError, match=r"column latency_ms: all \d+ figures are 1"):
        bring_back(rows)


def test_a_sorted_table_is_refused(rows: list[Row], bring_back: Any) -> None:
    rows.sort(key=lambda row: row["file"])
    with pytest.raises(SuiteError, match="in the order in which they were measured"):
        bring_back(rows)


def test_figures_that_say_nothing(suite: Path, bring_back: Any) -> None:
    rows = measured_rows(suite, lambda network: 1.0, noise=0.05)
    for row in rows:
        if row["file"] == REFERENCE:
            row["latency_ms"] = "1.0"
    with pytest.raises(CostModelRefused, match=r"at least 0\.8.*export and measure a larger suite"):
        bring_back(rows)
