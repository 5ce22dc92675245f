"""`netlathe latency show | predict | explain | compare`, over device files whose numbers are known."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from archspace import ArchitectureDocument, Network, SearchSpace
from latency_models import (
    Device,
    DeviceFile,
    ProfileReport,
    blocks_to_measure,
    reference_network,
)
from latency_models.additive import AdditiveTable
from latency_models.correction import Correction
from latency_models.describe import describe_block
from latency_models.device_file import HeldOutLatency
from latency_models.energy import EnergyModel
from latency_models.features import block_digest
from service.cli import app
from service.commands.latency_compare import config_space
from service.errors import NetlatheError, NotFoundError, UsageError

CONFIG = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"
KINDS = ("add", "conv", "conv_1x1", "conv_depthwise", "conv_grouped", "global_avg_pool", "linear")


def netlathe(*arguments: object) -> Result:
    done = CliRunner().invoke(app, ["latency", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def device_file(**changes: Any) -> DeviceFile:
    """A call costs 1 ms, each layer 2 ms, and every standard deviation is a tenth of the value."""
    figures = {
        "spearman": 0.99, "kendall": 0.9, "mape": 0.02, "within_5": 0.75, "within_10": 1.0,
        "ceiling_spearman": 0.999, "ceiling_kendall": 0.95, "ceiling_mape": 0.01,
        "ceiling_within_5": 1.0, "ceiling_within_10": 1.0, "num_fit": 20, "num_held_out": 12,
        "num_blocks_measured": 5, "num_blocks_used": 184, "num_failed": 0, "fastest_ms": 1.0,
        "slowest_ms": 9.0, "reference_ms": 2.0, "drift": 0.07, "seconds": 4.0,
        "energy_source": "estimated",
    }  # fmt: skip
    values: dict[str, Any] = {
        "device": Device.here(),
        "space_digest": "0" * 16,
        "created": "2026-01-02T03:04:05+00:00",
        "references": (reference_network(),),
        "additive": AdditiveTable(
            call_ms=0.5, blocks_ms={}, weights={}, kinds=KINDS, relative_std=0.1
        ),
        "correction": Correction(
            overhead_ms=1.0,
            scale=0.0,
            weights={f"{kind}.layers": 2.0 for kind in KINDS},
            deviations={},
            relative_std=0.1,
        ),
        "energy_model": EnergyModel(),
        "interval_scale": 1.0,
        "latency_margin": 0.05,
        "report": ProfileReport(**figures),
        "held_out": (HeldOutLatency(1.0, 1.0),),
    }
    return DeviceFile(**{**values, **changes})


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return config_space(CONFIG)


@pytest.fixture
def network(space: SearchSpace) -> Network:
    """One with an early exit."""
    rng = np.random.default_rng(0)
    drawn = (space.resolve(space.sample(rng)) for _ in range(100))
    return next(n for n in drawn if n.exits)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device.json"
    device_file().save(path)
    return path


@pytest.fixture
def export(tmp_path: Path, network: Network) -> Path:
    """As much of an exported folder as these verbs read."""
    folder = tmp_path / "best"
    folder.mkdir()
    ArchitectureDocument(digest="0" * 16, label="x", network=network).save(
        folder / "architecture.json"
    )
    return folder


def test_show_says_what_was_measured_and_how_good_the_model_is(device: Path) -> None:
    done = netlathe("show", device)
    rows = [line.strip("│ ").split("│") for line in done.stdout.splitlines() if "│" in line]
    shown = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert shown["runtime"] == ["onnxruntime"]
    assert shown["measured"] == ["2026-01-02T03:04:05+00:00"]
    assert shown["blocks alone"] == ["5 of 184"]
    assert shown["drift of the references"] == ["7 %"]
    assert shown["Spearman"] == ["0.990", "0.999"]
    assert shown["within ±5 %"] == ["75.0 %", "100.0 %"]
    assert shown["energy"] == ["estimated from MACs and bytes moved (no counter could be read)"]
    assert "90 % of the 12 held-out networks" in done.stdout
    assert "at most 5.0 % slower than predicted" in done.stdout
    assert "below 0.95" not in done.stdout
    assert done.stderr == ""


def test_show_as_json(device: Path) -> None:
    shown = json.loads(netlathe("show", device, "--json").stdout)
    assert shown["report"]["ceiling_spearman"] == 0.999
    assert shown["device"]["versions"]["python"]
    assert shown["energy"]["source"] == "estimated"
    assert shown["differences_from_here"] == []


def test_show_warns_where_the_machine_is_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "other.json"
    then = replace(Device.here(), processor="Abacus")
    device_file(
        device=then,
        report=device_file().report.model_copy(update={"spearman": 0.9}),
        energy_model=EnergyModel(source="predicted", reader="RAPL", mj_per_ms=2.0),
    ).save(path)
    with caplog.at_level(logging.WARNING):
        done = netlathe("show", path)
    assert "not of this machine as it is now: processor: Abacus, " in caplog.text
    assert "predicted, fitted to RAPL" in done.stdout
    assert "worse than measuring them twice does: intervals are half as wide again" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 1000}, "1000 threads, but this process may use"),
        ({"runtime": "external", "accelerator": "unknown", "external_runtime": "tflite"}, "tflite"),
    ],
)
def test_show_of_a_device_that_cannot_be_had_here(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "other.json"
    device_file(device=replace(Device.here(), **changes)).save(path)
    (difference,) = json.loads(netlathe("show", path, "--json").stdout)["differences_from_here"]
    assert message in difference


def test_predict_gives_each_head_with_its_interval_and_sources(
    device: Path, export: Path, network: Network
) -> None:
    file = export / "architecture.json"
    shown = json.loads(netlathe("predict", export, file, "--device-file", device, "--json").stdout)
    assert [row["file"] for row in shown["networks"]] == [str(export), str(file)]
    (row, _) = shown["networks"]
    milliseconds = 1 + 2 * len(network.layers)
    assert row["latency_ms"]["value"] == pytest.approx(milliseconds)
    assert row["latency_ms"]["source"] == "predicted"
    low, high = row["latency_ms"]["interval_90"]
    assert high - low == pytest.approx(2 * 1.645 * row["latency_ms"]["std"])
    assert row["energy_mj"]["source"] == "estimated"
    (exit_,) = row["exits"]
    assert exit_["head"] == network.exits[0].name
    assert 1 < exit_["latency_ms"]["value"] < milliseconds
    assert 0 < exit_["macs"] < row["macs"]
    assert 0 < exit_["num_params"] < row["num_params"]


def test_predict_as_a_table(device: Path, export: Path, network: Network) -> None:
    lines = netlathe("predict", export, "--device-file", device).stdout.splitlines()
    whole, exit_ = [line for line in lines if "predicted" in line]
    assert "estimated" in whole
    assert "estimated" in exit_
    assert f"up to {network.exits[0].name}" in exit_
    assert f" {1 + 2 * len(network.layers)} ± " in whole


def test_explain_lists_what_adds_up(device: Path, export: Path, network: Network) -> None:
    arguments = ("explain", export, "--device-file", device)
    shown = json.loads(netlathe(*arguments, "--json").stdout)
    assert [block["name"] for block in shown["blocks"]] == [b.name for b in network.blocks]
    assert {la["latency_ms"] for b in shown["blocks"] for la in b["layers"]} == {2.0}
    total = shown["overhead"]["latency_ms"] + sum(b["latency_ms"] for b in shown["blocks"])
    assert total == pytest.approx(shown["latency_ms"]["value"])
    table = netlathe(*arguments).stdout
    assert "overhead of a call" in table
    assert "regressed" in table
    assert "100.0" in table


def test_explain_top_keeps_the_rest_in_one_row(
    device: Path, export: Path, network: Network
) -> None:
    arguments = ("explain", export, "--device-file", device, "--top", 1)
    shown = json.loads(netlathe(*arguments, "--json").stdout)
    (block,) = shown["blocks"]
    assert len(block["layers"]) == max(len(b.layers) for b in network.blocks)
    parts = (shown["overhead"], shown["others"], block)
    assert sum(part["share"] for part in parts) == pytest.approx(1)
    lines = netlathe(*arguments).stdout.splitlines()
    bars = {mark: [line.count(mark) for line in lines if mark in line] for mark in "█░"}
    assert max(bars["█"]) == 12  # the longest of overhead, the block and the others
    assert len(bars["░"]) == len(block["layers"])
    assert any(f"{len(network.blocks) - 1} other blocks" in line for line in lines)


def test_compare_names_what_a_device_is_bad_at(tmp_path: Path, space: SearchSpace) -> None:
    blocks = blocks_to_measure(space, ())[:5]
    times = {block_digest(block): float(i + 1) for i, block in enumerate(blocks)}
    slower = {digest: 3 * ms for digest, ms in times.items()}
    slower[block_digest(blocks[2])] = 90.0
    paths = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"]
    for path, blocks_ms in zip(paths, (times, slower, {}), strict=True):
        additive = device_file().additive.model_copy(update={"blocks_ms": blocks_ms})
        device_file(additive=additive).save(path)
    shown = json.loads(netlathe("compare", *paths, "--config", CONFIG, "--json").stdout)
    assert [device["file"] for device in shown["devices"]] == [str(path) for path in paths]
    against, nothing = shown["blocks"]
    assert (against["num_shared"], against["median_ratio"]) == (5, 3.0)
    assert against["spearman"] == pytest.approx(0.7)  # ranks 1 2 5 3 4
    assert against["unusual"][0]["what"] == describe_block(blocks[2])
    assert against["unusual"][0]["unusual"] == pytest.approx(10.0)
    assert (nothing["num_shared"], nothing["spearman"], nothing["unusual"]) == (0, None, [])

    done = netlathe("compare", *paths)
    assert done.exit_code == 0
    assert "5 blocks were measured alone on both" in done.stdout
    assert block_digest(blocks[2]) in done.stdout
    assert "slow ×10.00" in done.stdout
    assert "no block was measured on both" in done.stdout
    assert "--config CONFIG names" in done.stderr


def test_a_kind_of_layer_never_measured_names_the_files(tmp_path: Path, export: Path) -> None:
    path = tmp_path / "poor.json"
    additive = device_file().additive.model_copy(update={"kinds": ("conv",)})
    device_file(additive=additive).save(path)
    for verb in ("predict", "explain"):
        with pytest.raises(UsageError) as caught:
            netlathe(verb, export, "--device-file", path)
        assert str(caught.value).startswith(f"{export} cannot be predicted with {path}: block ")
        assert "nothing like" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["show", "{tmp}/none.json"], NotFoundError, "no device file at"),
        (["show", "{export}/architecture.json"], UsageError, "expected a device file"),
        (["predict", "{tmp}", "--device-file", "{device}"], NotFoundError, "no architecture at"),
        (["predict", "{device}", "--device-file", "{device}"], UsageError, "device.json: "),
        (["explain", "{export}", "--device-file", "no"], NotFoundError, "no device file at no"),
        (["compare", "{device}"], UsageError, "at least two device files to compare, got 1"),
        (["compare", "{device}", "{device}", "--config", "no.yaml"], NotFoundError, "no config"),
    ],
)
def test_wrong_files(
    tmp_path: Path,
    device: Path,
    export: Path,
    arguments: list[str],
    error: type[NetlatheError],
    message: str,
) -> None:
    given = [a.format(tmp=tmp_path, device=device, export=export) for a in arguments]
    with pytest.raises(error, match=message):
        netlathe(*given)


@pytest.mark.parametrize(
    "arguments", [["show"], ["predict", "x"], ["explain", "x", "--device-file", "y", "--top", "0"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert netlathe(*arguments).exit_code == 2
