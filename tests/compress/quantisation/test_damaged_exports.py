"""Whatever stands in an export's files, the checks and the readers name it; nothing else is raised."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archspace import ArchitectureDocument, Network
from compress import ModelNotReadable, read_model
from compress.quantisation.export import quantised_files
from deploy import DeployError, ExportInfo, export_architecture
from deploy.files import (
    ARCHITECTURE,
    CHECKSUMS,
    CONFIG,
    INT8_ONNX,
    ONNX,
    PACKED,
    QUANTISATION,
    WEIGHTS,
    read_document,
)
from deploy.verify_files import (
    check_architecture,
    check_checksums,
    check_code,
    check_config,
    check_files,
    check_onnx,
    check_weights_file,
)
from deploy.verify_int8 import check_int8, check_quantisation
from deploy.verify_packed import check_packed
from tests.damage import at_most, damaged_bytes, damaged_json

JSON_FILES = (ARCHITECTURE, CONFIG, QUANTISATION)
FILES = (*JSON_FILES, WEIGHTS, ONNX, INT8_ONNX, PACKED, CHECKSUMS)
CHECKS: tuple[Callable[..., str], ...] = (
    check_config, check_weights_file, check_onnx, check_code, check_quantisation, check_int8, check_packed
)  # fmt: skip
SECONDS = 5.0
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(
    digits_network: Network, quantised_at_random: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    model, _ = quantised_at_random(digits_network, 0)
    digest = model.network.digest
    info = ExportInfo(
        pick="best", device="a device", dataset="digits", accuracies=(), costs=(), measurements=()
    )
    return export_architecture(
        ArchitectureDocument(digest=digest, label=digest, network=model.network),
        model.weights,
        tmp_path_factory.mktemp("damaged") / "best",
        info=info,
        extra=quantised_files(model),
    )


def look(folder: Path) -> None:
    """As `verify_export` does, without running anything; the first fault ends it, as there."""
    with at_most(DeployError):
        check_files(folder)
        check_architecture(folder)
        document = read_document(folder)
        for check in CHECKS:
            check(folder, document)


def survives(folder: Path, name: str, content: bytes) -> None:
    kept = (folder / name).read_bytes()
    began = time.process_time()
    try:
        (folder / name).write_bytes(content)
        look(folder)
        with at_most(DeployError):
            check_checksums(folder)
        with at_most(ModelNotReadable):
            read_model(folder)
    finally:
        (folder / name).write_bytes(kept)
    assert time.process_time() - began < SECONDS


def contents(folder: Path) -> st.SearchStrategy[tuple[str, bytes]]:
    kept = {name: (folder / name).read_bytes() for name in FILES}

    def damaged(name: str) -> st.SearchStrategy[bytes]:
        whole = damaged_bytes(kept[name])
        return damaged_json(kept[name]) | whole if name in JSON_FILES else whole

    return st.sampled_from(FILES).flatmap(lambda name: st.tuples(st.just(name), damaged(name)))


@QUICK
@given(data=st.data())
def test_damaged_files(folder: Path, data: st.DataObject) -> None:
    survives(folder, *data.draw(contents(folder)))


@pytest.mark.slow
@settings(QUICK, max_examples=1000)
@given(data=st.data())
def test_many_damaged_files(folder: Path, data: st.DataObject) -> None:
    survives(folder, *data.draw(contents(folder)))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "9" * 10_000, "1e400", "NaN", ""]
)
@pytest.mark.parametrize("name", JSON_FILES)
def test_json_that_leads_a_parser_astray(folder: Path, name: str, text: str) -> None:
    survives(folder, name, text.encode())
