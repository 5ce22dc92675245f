"""Ten networks of a staged space teach a new device, with and without a device known before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from scipy.stats import spearmanr

from archspace import NasBench201Space, Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import count_macs
from latency_models import (
    ChoiceTable,
    DeviceFile,
    DeviceFileError,
    FittedDevice,
    choose_to_measure,
    fit_device,
    write_worksheet,
)

SPACE = StagedSpace(
    StagedSpaceConfig(
        stem_channels=8,
        stages=(StageConfig(channels=16, layers=2), StageConfig(channels=32, layers=2, stride=2)),
        early_exits=False,
    ),
    input_shape=Shape(1, 8, 8),
    num_classes=10,
)
FRESH = np.array([SPACE.sample(rng) for rng in [np.random.default_rng(9)] for _ in range(300)])


def true_ms(network: Network) -> float:
    return 0.2 + 0.05 * len(network.layers) + count_macs(network) / 4e5


def measured(choices: np.ndarray) -> np.ndarray:
    return np.array([true_ms(SPACE.resolve(row)) for row in choices.tolist()])


class Profiled(DeviceFile):
    """Knows what everything costs on a device three times as slow."""

    def cost_model(self) -> Any:
        return SimpleNamespace(
            predict_choices=lambda space, rows: SimpleNamespace(latency_ms=3 * measured(rows))
        )


def learnt(choices: np.ndarray, **known: Any) -> FittedDevice:
    table = ChoiceTable(choices, {"latency_ms": measured(choices)})
    return fit_device(SPACE, table, "latency_ms", unit="ms", **known)


def rank(device: FittedDevice) -> float:
    return float(spearmanr(device.model.predict(FRESH), measured(FRESH)).statistic)


@pytest.mark.slow
def test_a_known_device_makes_ten_measurements_enough() -> None:
    known = {"old.json": cast(DeviceFile, Profiled.model_construct())}
    alone = learnt(choose_to_measure(SPACE, 10))
    helped = learnt(choose_to_measure(SPACE, 10, known_devices=known), known_devices=known)
    assert rank(helped) > max(0.97, rank(alone))
    assert helped.header.references == ("old.json",)
    again = {"old.safetensors": helped}  # what was fitted helps as well as what was profiled
    assert rank(learnt(choose_to_measure(SPACE, 8, seed=3), known_devices=again)) > 0.97


def test_a_fitted_device_of_another_space_cannot_help() -> None:
    other = learnt(choose_to_measure(SPACE, 10))
    with pytest.raises(DeviceFileError, match="old: expected a device fitted to this space"):
        choose_to_measure(NasBench201Space(), 10, known_devices={"old": other})


def test_what_is_chosen_is_distinct_and_repeatable() -> None:
    chosen = choose_to_measure(SPACE, 30)
    digests = {SPACE.architecture(row).digest for row in chosen.tolist()}
    assert len(digests) == 30
    assert (choose_to_measure(SPACE, 30) == chosen).all()
    assert (choose_to_measure(SPACE, 12) == chosen[:12]).all()


@pytest.mark.parametrize("space", [SPACE, NasBench201Space()], ids=["staged", "cells"])
def test_a_filled_in_worksheet_is_a_table(space: Any, tmp_path: Path) -> None:
    chosen = choose_to_measure(space, 6)
    folder = tmp_path / "sheet"
    write_worksheet(space, chosen, folder, batch_size=2)
    frame = pd.read_csv(folder / "measurements.csv")
    assert frame["latency_ms"].isna().all()
    session = onnxruntime.InferenceSession(
        folder / frame["file"][3], providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].shape[0] == 2
    assert f"-{space.resolve(chosen[3].tolist()).digest}." in frame["file"][3]
    frame["latency_ms"] = [1.0, 2.0, 3.0, np.nan, 5.0, 6.0]
    frame.to_csv(folder / "measurements.csv", index=False)
    table = ChoiceTable.read(folder / "measurements.csv", space, ["latency_ms"])
    assert (table.choices == chosen).all()
    assert np.isnan(table.columns["latency_ms"]).tolist() == [False] * 3 + [True] + [False] * 2
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_worksheet(space, chosen, folder)
