"""`netlathe latency fit`, and predicting with what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from archspace import ArchitectureDocument, NasBench201Space, Shape, StagedSpace, StagedSpaceConfig
from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from service.latency_cli import app

SPACE = NasBench201Space()
OPS_MS = np.array([0.1, 0.3, 1.0, 2.5, 0.7])
ROWS = list({tuple(r): None for r in np.random.default_rng(0).integers(0, 5, (200, 6)).tolist()})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pd.DataFrame({"arch_str": [SPACE.arch_str(row) for row in ROWS]})
    frame["a"] = 1 + OPS_MS[np.array(ROWS)].sum(axis=1)
    frame["b"], frame["flat"] = 3 * frame["a"], 2.0
    path = tmp_path_factory.mktemp("table") / "t.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def fitted(table: Path) -> Path:
    out = table.parent / "a.safetensors"
    result = CliRunner().invoke(
        app, ["fit", str(table), "--device", "a", "--out", str(out)], catch_exceptions=False
    )
    assert "199 measured architectures" in result.output
    return out


def architecture(path: Path, choices: tuple[int, ...] = ROWS[0]) -> Path:
    found = SPACE.architecture(choices)
    ArchitectureDocument(
        digest=found.digest,
        label=found.label,
        network=SPACE.resolve(choices),
        space={"kind": SPACE.kind, "digest": SPACE.digest},
        choices=SPACE.named(choices),
    ).save(path)
    return path


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_fit_then_predict(fitted: Path, tmp_path: Path) -> None:
    arch = architecture(tmp_path / "architecture.json")
    shown = json.loads(invoke("predict", arch, "--device-file", fitted, "--json"))
    (network,) = shown["networks"]
    assert shown["unit"] == "ms"
    assert network["value"] == pytest.approx(1 + OPS_MS[list(ROWS[0])].sum(), rel=0.02)
    assert network["source"] == "predicted"
    assert "90 % interval" in invoke("predict", arch, "--device-file", fitted)


def test_fit_with_references_as_json(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    shown = json.loads(
        invoke("fit", table, "--device", "a", "--reference", "b", "--out", out, "--json")
    )
    assert shown["references"] == ["b"]
    assert shown["left_out"]["spearman"] > 0.99
    assert out.is_file()


def test_a_network_of_another_space_is_refused(fitted: Path, tmp_path: Path) -> None:
    config = StagedSpaceConfig.model_validate(
        {"stem_channels": 8, "stages": [{"channels": 8, "layers": 1, "stride": 2}] * 2}
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    choices = space.sample(np.random.default_rng(0))
    path = tmp_path / "staged.json"
    ArchitectureDocument(
        digest=space.architecture(choices).digest,
        label="staged",
        network=space.resolve(choices),
        space={"kind": space.kind, "digest": space.digest},
        choices=space.named(choices),
    ).save(path)
    with pytest.raises(UsageError, match="fitted to another space"):
        invoke("predict", path, "--device-file", fitted)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"table": "nowhere.csv"}, NotFoundError, "no table"),
        ({"--device": "aa"}, UsageError, "did you mean a"),
        ({"--device": "flat"}, UsageError, "cost the same"),
        ({"--unit": "s"}, UsageError, "ms or mJ"),
        ({"--reference": "a"}, UsageError, "cannot help to learn itself"),
    ],
)
def test_wrong_input(
    table: Path, tmp_path: Path, changes: dict[str, str], error: type[NetlatheError], message: str
) -> None:
    out = tmp_path / "out.safetensors"
    options = {"--device": "a", "--out": str(out)} | changes
    path = options.pop("table", str(table))
    with pytest.raises(error, match=message):
        invoke("fit", path, *[part for pair in options.items() for part in pair])
    assert not out.exists()


def test_choose_measure_fit_with_a_known_device(fitted: Path, tmp_path: Path) -> None:
    to = tmp_path / "sheet"
    said = invoke("choose", "--count", 8, "--to", to, "--reference-file", fitted)
    assert "8 networks" in said
    sheet = to / "measurements.csv"
    frame = pd.read_csv(sheet)
    rows = [SPACE.from_arch_str(text) for text in frame["arch_str"]]
    frame["latency_ms"] = 2 * (1 + OPS_MS[np.array(rows)].sum(axis=1))
    frame.to_csv(sheet, index=False)
    out = tmp_path / "new.safetensors"
    command = ("fit", sheet, "--device", "latency_ms", "--out", out, "--json")
    shown = json.loads(invoke(*command, "--reference-file", fitted))
    assert shown["references"] == [str(fitted)]
    assert shown["left_out"]["spearman"] > 0.9
    again = CliRunner().invoke(app, ["choose", "--to", str(to)])
    assert isinstance(again.exception, ConflictError)
    missing = CliRunner().invoke(
        app, [*map(str, command), "--reference-file", str(tmp_path / "no.json")]
    )
    assert isinstance(missing.exception, NotFoundError)
