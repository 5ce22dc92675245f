"""Plans carried out: figures, resuming, exports, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from archspace import ArchitectureDocument
from child_models import Dataset, count_params
from compress import (
    Compressed,
    CompressionPlan,
    ModelNotReadable,
    StoredModel,
    TrainedModel,
    compress,
    export_compressed,
    read_model,
)
from compress.deployed import deployed_file
from compress.step_store import StepStore, model_key
from compress.stored_models import write_model
from deploy import verify_export
from latency_models import Device

PLAN = {
    "training": {"learning_rate": 0.003},
    "steps": [
        {"step": "finetune", "epochs": 1},
        {"step": "distil", "epochs": 1},
        {
            "step": "prune",
            "pruning": {"method": "l1", "keep_params": 0.7, "rounds": 1, "epochs": 1},
            "distillation": {},
        },
        {"step": "quantise"},
    ],
}


@pytest.fixture(scope="module")
def stored(data: Dataset, trained: TrainedModel) -> StoredModel:
    document = ArchitectureDocument(
        digest=trained.network.digest,
        label="by hand",
        network=trained.network,
        class_names=data.class_names,
        normalization=data.normalization,
    )
    return StoredModel(model=trained, document=document)


@pytest.fixture(scope="module")
def done(
    stored: StoredModel, data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Compressed, Path]:
    folder = tmp_path_factory.mktemp("pipeline") / "steps"
    plan = CompressionPlan.model_validate(PLAN)
    return compress(stored, data, plan, folder, device=Device.here()), folder


def test_each_step_says_what_it_changed(done: tuple[Compressed, Path], stored: StoredModel) -> None:
    compressed, _ = done
    assert [step.name for step in compressed.steps] == ["finetune", "distil", "prune", "quantise"]
    for earlier, later in zip(compressed.steps, compressed.steps[1:], strict=False):
        assert earlier.after == later.before
    before, pruned, quantised = (
        compressed.steps[0].before,
        compressed.steps[2].after,
        compressed.steps[3].after,
    )
    assert before.num_params == count_params(stored.model.network)
    assert pruned.num_params <= 0.7 * before.num_params
    assert pruned.size_bytes < before.size_bytes
    assert (pruned.runs, quantised.runs) == ("fp32", "int8")
    assert all(
        step.after.latency_ms_b16 > step.after.latency_ms_b1 > 0 for step in compressed.steps
    )
    assert 0.5 < compressed.test_after <= 1
    json.dumps([step.to_json() for step in compressed.steps], allow_nan=False)


def test_the_export_is_what_verify_accepts(
    done: tuple[Compressed, Path], data: Dataset, tmp_path: Path
) -> None:
    compressed, _ = done
    export_compressed(compressed, data, "a device", tmp_path / "small")
    report = verify_export(tmp_path / "small")
    assert report.ok, report.failures
    again = read_model(tmp_path / "small")
    assert model_key(again.model) == model_key(compressed.stored.model)
    assert deployed_file(again.model).onnx == (tmp_path / "small" / "model.int8.onnx").read_bytes()


def test_finished_steps_are_kept(
    done: tuple[Compressed, Path], stored: StoredModel, data: Dataset
) -> None:
    compressed, folder = done
    told: list[tuple[int, str]] = []
    plan = CompressionPlan.model_validate(PLAN)
    again = compress(
        stored,
        data,
        plan,
        folder,
        device=Device.here(),
        on_step=lambda number, _step, state: told.append((number, state)),
    )
    assert told == [(1, "kept"), (2, "kept"), (3, "kept"), (4, "kept")]
    assert model_key(again.stored.model) == model_key(compressed.stored.model)


def test_a_damaged_or_changed_step_is_done_again(
    done: tuple[Compressed, Path], stored: StoredModel, data: Dataset
) -> None:
    compressed, folder = done
    weights = folder / "3-prune" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9] ^= 1
    weights.write_bytes(bytes(content))
    told: list[str] = []
    again = compress(
        stored,
        data,
        CompressionPlan.model_validate(PLAN),
        folder,
        device=Device.here(),
        on_step=lambda number, _step, state: told.append(f"{number} {state}"),
    )
    assert told == ["1 kept", "2 kept", "3 start", "3 done", "4 kept"]
    assert model_key(again.stored.model) == model_key(compressed.stored.model)


def test_another_plan_or_model_has_other_keys(
    done: tuple[Compressed, Path], stored: StoredModel, tmp_path: Path
) -> None:
    _, folder = done
    store = StepStore(folder)
    record = json.loads((folder / "1-finetune" / "step.json").read_text())
    assert store.read(1, "finetune", record["key"]) is not None
    assert store.read(1, "finetune", "0" * 16) is None
    assert StepStore(tmp_path / "new").read(1, "finetune", record["key"]) is None
    other = {**stored.model.weights, "layers.stem.norm.bias": np.ones(16, np.float32)}
    assert model_key(replace(stored.model, weights=other)) != model_key(stored.model)


def test_quantising_comes_last_and_once() -> None:
    steps = [{"step": "quantise"}, {"step": "finetune", "epochs": 1}]
    with pytest.raises(ValidationError, match="step 1 quantises, and others follow"):
        CompressionPlan.model_validate({"steps": steps})
    with pytest.raises(ValidationError, match="steps"):
        CompressionPlan.model_validate({"steps": []})


def test_models_that_cannot_be_read_say_why(stored: StoredModel, tmp_path: Path) -> None:
    with pytest.raises(ModelNotReadable, match="there is no"):
        read_model(tmp_path)
    write_model(tmp_path, stored)
    assert model_key(read_model(tmp_path).model) == model_key(stored.model)
    (tmp_path / "weights.pt").write_bytes(b"pickle")
    with pytest.raises(ModelNotReadable, match="pickled checkpoint is not read"):
        read_model(tmp_path / "weights.pt")
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(ModelNotReadable, match=str(tmp_path)):
        read_model(tmp_path)
