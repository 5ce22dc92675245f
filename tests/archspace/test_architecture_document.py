"""Architecture files: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from archspace import (
    ArchitectureDocument,
    Normalization,
    SchemaError,
    Shape,
    StagedSpace,
    StagedSpaceConfig,
    document,
)
from archspace.migrations import migrate

Change = Callable[[dict[str, Any]], object]


def make_document() -> ArchitectureDocument:
    stages = [{"channels": 16, "layers": 1}, {"channels": 32, "layers": 1, "stride": 2}]
    config = StagedSpaceConfig.model_validate({"stages": stages})
    space = StagedSpace(config, input_shape=Shape(3, 8, 8), num_classes=3)
    choices = (0, 1, 3, 1, 1, 1, 3)
    architecture = space.architecture(choices)
    return ArchitectureDocument(
        digest=architecture.digest,
        label=architecture.label,
        network=space.resolve(choices).with_thresholds((0.25,)),
        space={"kind": space.kind, "digest": space.digest},
        choices=space.named(choices),
        class_names=("cat", "dog", "größer"),
        normalization=Normalization(mean=(0.5, 0.0, 0.25), std=(0.25, 1.0, 0.5)),
        num_params=1234,
        macs=56789,
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    written = make_document()
    written.save(path)
    assert ArchitectureDocument.load(path) == written
    assert json.loads(path.read_bytes())["network"]["exits"][0]["threshold"] == 0.25


def test_the_published_schema_is_valid_and_accepts_what_is_written() -> None:
    schema = json.loads(document.SCHEMA_PATH.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(make_document().to_json()))


def test_every_object_of_the_schema_is_closed() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object":
                assert "additionalProperties" in node
                assert (
                    node.get("required") == list(node.get("properties", {}))
                    or "required" not in node
                )
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(json.loads(document.SCHEMA_PATH.read_text(encoding="utf-8")))


def layer(i: int, **fields: object) -> Change:
    return lambda data: data["network"]["layers"][i].update(fields)


def network(**fields: object) -> Change:
    return lambda data: data["network"].update(fields)


def top(**fields: object) -> Change:
    return lambda data: data.update(fields)


# n0 stem, n1 n2 n3 block (dw, 1×1, add), n4 n5 exit, n6 n7 n8 n9 block (dw, 1×1, projection, add), n10 n11 head
@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        (top(schema_version=2), "$.schema_version", "upgrade Netlathe"),
        (top(schema_version=0), "$.schema_version", "version 0 is not known"),
        (top(schema_version="1"), "$.schema_version", "expected an integer"),
        (top(schema_version=True), "$.schema_version", "expected an integer"),
        (lambda data: data.pop("schema_version"), "$.schema_version", "expected an integer"),
        (lambda data: data.pop("macs"), "$", "'macs' is a required property"),
        (top(colour="red"), "$", "'colour' was unexpected"),
        (top(digest="xyz"), "$.digest", "does not match"),
        (top(digest="0" * 16), "$.digest", "changed by hand or damaged"),
        (top(class_names=["cat"]), "$.class_names", "expected 3 names, got 1"),
        (top(class_names=["a", "a", "b"]), "$.class_names", "non-unique"),
        (top(normalization={"mean": [0], "std": [1]}), "$.normalization.mean", "3 numbers"),
        (
            top(normalization={"mean": [0, 0, 0], "std": [1, 0, 1]}),
            "$.normalization.std[1]",
            "minimum",
        ),
        (top(num_params=-1), "$.num_params", "minimum"),
        (layer(1, bits=16), "$.network.layers[1].bits", "not one of"),
        (layer(3, bits=8), "$.network.layers[3]", "bits means nothing for add"),
        (layer(1, op="max_pool"), "$.network.layers[1].op", "not one of"),
        (layer(1, kernel=3.0), "$.network.layers[1].kernel", "integer"),
        (layer(1, kernel=True), "$.network.layers[1].kernel", "integer"),
        (layer(1, stride=0), "$.network.layers[1].stride", "minimum"),
        (layer(1, groups=0), "$.network.layers[1].groups", "minimum"),
        (layer(1, speed=1), "$.network.layers[1]", "'speed' was unexpected"),
        (layer(1, name="n0"), "$.network.layers", "'n0' occurs twice"),
        (layer(1, name="n1\n"), "$.network.layers[1]", "not a name"),
        (layer(1, name="input"), "$.network.layers[1].name", "input"),
        (layer(1, name="../x"), "$.network.layers[1].name", "does not match"),
        (layer(1, inputs=["n2"]), "$.network.layers", "layer n1: its inputs ['n2']"),
        (layer(1, inputs=["n0", "n0"]), "$.network.layers[1]", "exactly one input"),
        (layer(3, inputs=["n2"]), "$.network.layers[3]", "two or more"),
        (layer(3, kernel=3), "$.network.layers[3]", "kernel means nothing for add"),
        (layer(3, out_channels=8), "$.network.layers[3]", "add keeps its channels"),
        (layer(1, groups=3), "$.network.layers", "3 groups do not divide"),
        (layer(1, padding=0, kernel=9), "$.network.layers", "0×0 pixels"),
        (layer(2, in_channels=8), "$.network.layers", "layer n2: expects 8 channels, gets 16"),
        (layer(4, inputs=["n0"]), "$.digest", "changed by hand or damaged"),
        (layer(5, inputs=["n3"]), "$.network.layers[5]", "linear reads a pooled map"),
        (layer(10, block="stem"), "$.network.layers[10].block", "maps of two shapes"),
        (network(output="n10"), "$.network.output", "expected a linear layer"),
        (network(output="n99"), "$.network.output", "no layer 'n99'"),
        (network(output="n5"), "$.network.exits", "heads must differ"),
        (network(exits=[]), "$.network.layers", "no head needs layer 'n5'"),
        (network(num_classes=4), "$.network.exits[0].layer", "with 4 outputs"),
        (network(input={"channels": 3, "height": 8}), "$.network.input", "'width' is a required"),
        (
            lambda data: data["network"]["exits"][0].update(threshold=1.5),
            "$.network.exits[0].threshold",
            "maximum",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(
    change: Change, path: str, message: str
) -> None:
    data = json.loads(make_document().to_json())
    change(data)
    with pytest.raises(SchemaError) as caught:
        ArchitectureDocument.from_json(json.dumps(data))
    text = str(caught.value)
    assert text.startswith(f"{path}:"), text
    assert message in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "expected an object, got list"),
        ('{"schema_version": 1', "not valid JSON"),
        ('{"schema_version": NaN}', "NaN is not a JSON number"),
        ('{"schema_version": 1e999}', "too large"),
        ('{"schema_version": 1, "schema_version": 1}', "occurs twice"),
        ('{"a": ' * 40 + "1" + "}" * 40, "nested more than 32"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 32"),
        ('{"schema_version": ' + "9" * 5000 + "}", "not valid JSON"),
        (" " * (document.MAX_BYTES + 1), "at most"),
    ],
)
def test_text_that_is_no_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        ArchitectureDocument.from_json(text)


def test_files_that_are_too_large_or_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b" " * (document.MAX_BYTES + 1))
    with pytest.raises(SchemaError, match="larger than"):
        ArchitectureDocument.load(path)
    path.write_bytes(b'{"label": "\xff"}')
    with pytest.raises(SchemaError, match=r"a\.json"):
        ArchitectureDocument.load(path)
    with pytest.raises(FileNotFoundError):
        ArchitectureDocument.load(tmp_path / "missing.json")


def test_nothing_invalid_is_written(tmp_path: Path) -> None:
    good = make_document()
    bad = ArchitectureDocument(digest="short", label="x", network=good.network)
    with pytest.raises(SchemaError, match=r"\$\.digest"):
        bad.save(tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()
    without_number = ArchitectureDocument(
        digest=good.digest,
        label="x",
        network=good.network,
        normalization=Normalization((float("nan"), 0.0, 0.0), (1.0, 1.0, 1.0)),
    )
    with pytest.raises(ValueError):
        without_number.to_json()


def test_older_documents_are_migrated_one_version_at_a_time() -> None:
    def rename(data: dict[str, Any]) -> dict[str, Any]:
        data["label"] = data.pop("name")
        return data

    steps = {1: rename, 2: lambda data: {**data, "added": None}}
    old = {"schema_version": 1, "name": "x"}
    new = migrate(old, migrations=steps, current=3)
    assert new == {"schema_version": 3, "label": "x", "added": None}
    assert old == {"schema_version": 1, "name": "x"}
    assert migrate(new, migrations=steps, current=3) == new
    with pytest.raises(SchemaError, match=r"version 0 is not known; known: \[1, 2, 3\]"):
        migrate({"schema_version": 0}, migrations=steps, current=3)


def test_the_package_is_light() -> None:
    code = (
        "import sys, archspace; heavy = {'torch', 'onnx', 'ray', 'pandas', 'jsonschema'};"
        "print(heavy & set(sys.modules) or 'light')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "light"
