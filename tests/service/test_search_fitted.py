"""Searching with a device that was fitted to a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from archspace import ArchitectureDocument, NasBench201Space
from service.cli import app
from service.config_file import read_mapping
from service.errors import NetlatheError, NotFoundError, UsageError
from service.run_folder import create_run

PRICES_MS = np.array([0.1, 0.3, 1.0, 2.5, 0.7])
RUN = {
    "name": "phone-cells",
    "data": {"kind": "digits"},
    "space": {"kind": "nasbench201", "channels": 4, "cells_per_stage": 1},
    "schedule": {"search_epochs": 1, "final_epochs": 2},
    "search": {"budget": 6, "strategy": {"name": "evolution"}, "controls": [{"name": "random"}]},
    "limits": {"latency_ms": 7.0},
    "evaluator": {"kind": "local"},
    "mirror": {"enabled": False},
}
STAGED = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"


def netlathe(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def true_ms(choices: Sequence[int]) -> float:
    return 1.0 + float(PRICES_MS[list(choices)].sum())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``run.yaml``, and a table of 40 cells: a phone that adds up a price for each operation."""
    path = tmp_path_factory.mktemp("fitted")
    (path / "run.yaml").write_text(yaml.safe_dump(RUN))
    space = NasBench201Space()
    rows = np.unique(np.random.default_rng(0).integers(0, 5, (40, 6)), axis=0)
    frame = pd.DataFrame({"arch_str": [space.arch_str(row) for row in rows]})
    frame["phone"] = [true_ms(row) for row in rows]
    frame.to_csv(path / "table.csv", index=False)
    return path


def fit(folder: Path, name: str, *options: object) -> Path:
    out = folder / f"{name}.safetensors"
    netlathe(
        "latency", "fit", folder / "table.csv", "--device", "phone", "--out", out, *options
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def phone(folder: Path) -> Path:
    return fit(folder, "phone", "--space", folder / "run.yaml")


def test_space_shows_predictions_for_the_whole_space(
    folder: Path, phone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = json.loads(
        netlathe("space", folder / "run.yaml", "--device-file", phone, "--json")
    )  # fmt: skip
    assert "nothing can be measured on phone from here" in caplog.text
    rows = {row["name"]: row for row in told["networks"]}
    assert rows["largest"]["latency_ms"]["value"] == pytest.approx(true_ms([3] * 6), rel=1e-3)
    assert rows["largest"]["latency_ms"]["source"] == "predicted"
    assert rows["largest"]["energy_mj"]["source"] == "estimated"
    assert told["drawn"] == 0
    shown = netlathe("space", folder / "run.yaml", "--device-file", phone)
    assert "not exact" not in shown


def test_dry_run_needs_no_device(folder: Path, phone: Path) -> None:
    shown = netlathe("search", folder / "run.yaml", "--device-file", phone, "--dry-run")
    assert "is fine" in shown


def test_a_device_of_larger_images_is_refused(folder: Path, tmp_path: Path) -> None:
    cifar = fit(folder, "cifar")
    with pytest.raises(UsageError) as refused:
        netlathe(
            "search", folder / "run.yaml", "--device-file", cifar, "--out", tmp_path / "run"
        )  # fmt: skip
    text = str(refused.value)
    assert "images: 3×32×32 there, 1×8×8 in this run" in text
    assert "channels: 16 there, 4 in this run" in text
    assert "netlathe latency fit TABLE --space CONFIG" in text
    assert not (tmp_path / "run").exists()


def test_another_number_of_classes_is_said(
    folder: Path, phone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from latency_models import DeviceConfig, FittedDevice
    from service.fitted_checks import check_fitted, warn_of_fitted

    fitted = FittedDevice.load(phone)
    here = fitted.space.to_dict()
    space = NasBench201Space(
        fitted.space.config,  # type: ignore[attr-defined]
        input_shape=tuple(here["input_shape"].values()),  # type: ignore[arg-type]
        num_classes=37,
    )
    check_fitted(fitted, space)
    warn_of_fitted(fitted, space, DeviceConfig(batch_size=4))
    assert "have 10 classes, this run's have 37" in caplog.text
    assert "device.batch_size 4 does not count" in caplog.text


@pytest.mark.parametrize(
    ("config", "options", "error", "message"),
    [
        ("run.yaml", ("--set", "limits.latency_ms=0.1"), UsageError, "smallest network of this"),
        (STAGED, (), UsageError, "decides about stage1.exit: set space.early_exits: false"),
        (STAGED, ("--set", "space.early_exits=false"), UsageError, "kind: nasbench201 there, staged"),
    ],
)  # fmt: skip
def test_runs_that_it_does_not_fit_are_refused(
    folder: Path,
    phone: Path,
    config: Path | str,
    options: tuple[str, ...],
    error: type[NetlatheError],
    message: str,
) -> None:
    for verb in (("search", "--dry-run"), ("space",)):
        with pytest.raises(error, match=message):
            netlathe(verb[0], folder / config, *verb[1:], "--device-file", phone, *options)


def test_energy_alone_is_refused(folder: Path) -> None:
    joules = fit(folder, "joules", "--space", folder / "run.yaml", "--unit", "mJ")
    with pytest.raises(UsageError, match="predicts mJ, and a search needs latency"):
        netlathe("space", folder / "run.yaml", "--device-file", joules)


def test_no_file_and_no_device_in_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no device file"):
        netlathe("space", folder / "run.yaml", "--device-file", tmp_path / "no.safetensors")
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_text("{}")
    with pytest.raises(UsageError, match="expected a device fitted by netlathe"):
        netlathe("space", folder / "run.yaml", "--device-file", wrong)


@pytest.fixture(scope="module")
def finished(folder: Path, phone: Path) -> Path:
    run = folder / "run"
    netlathe("search", folder / "run.yaml", "--device-file", phone, "--out", run)
    return run


@pytest.mark.slow
def test_a_search_ends_with_predicted_picks_within_the_limit(finished: Path, phone: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["device"] == "phone"
    assert [pick["pick"] for pick in summary["picks"]] == ["best", "knee", "fastest"]
    for pick in summary["picks"]:
        assert pick["latency_predicted"]["source"] == "predicted"
        assert pick["latency_predicted"]["value"] <= 7.0
        assert pick["latency_measured"] is pick["latency_worst_measured"] is None
        assert pick["energy"]["source"] == "estimated"
        assert pick["test_accuracy"] > 0
    trials = pd.read_parquet(finished / "trials.parquet")
    assert (trials[trials["status"] == "ok"]["latency_ms"] <= 7.0).all()
    assert (trials["status"] == "rejected").any()
    document = ArchitectureDocument.load(finished / "best" / "architecture.json")
    space = NasBench201Space()
    expected = true_ms(space.from_named(document.choices or {}))
    assert summary["picks"][0]["latency_predicted"]["value"] == pytest.approx(expected, rel=1e-3)
    assert (finished / "device.safetensors").read_bytes() == phone.read_bytes()
    assert not (finished / "device.json").exists()


@pytest.mark.slow
def test_the_report_says_that_measurements_were_left_out(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "measured networks, each left out of the fit in its turn" in page
    assert "Nothing was measured in this run." in page
    shown = netlathe("resume", finished)
    assert "each left out of the fit in its turn" in " ".join(shown.split())


@pytest.mark.slow
def test_a_run_that_was_begun_is_gone_on_with_the_copy(finished: Path, phone: Path) -> None:
    run = finished.parent / "begun"
    create_run(run, read_mapping(finished.parent / "run.yaml"), 0, phone)
    netlathe("resume", run)
    pd.testing.assert_frame_equal(
        pd.read_parquet(run / "trials.parquet"), pd.read_parquet(finished / "trials.parquet")
    )


@pytest.mark.slow
def test_any_network_of_the_run_is_exported(finished: Path, tmp_path: Path) -> None:
    picked = {
        pick["digest"] for pick in json.loads((finished / "summary.json").read_text())["picks"]
    }
    trials = pd.read_parquet(finished / "trials.parquet")
    main = trials[(trials["session"] == "evolution-0") & (trials["status"] == "ok")]
    digest = next(digest for digest in main["digest"] if digest not in picked)
    netlathe("export", finished, "--pick", digest, "--to", tmp_path / "other")
    text = (tmp_path / "other" / "README.md").read_text()
    assert "for the device “phone”" in text
    assert "picked after the test" in text
