import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from latency_models import (
    DeviceFile,
    DeviceFileChanged,
    DeviceFileError,
    ProfileConfig,
    profile_device,
)
from tests.damage import at_most, damaged_bytes, damaged_json


@pytest.fixture(scope="module")
def machine(make_machine: Any) -> Any:
    return make_machine()


@pytest.fixture(scope="module")
def file(space: StagedSpace, machine: Any) -> DeviceFile:
    config = ProfileConfig(num_networks=40, num_held_out=24, num_blocks=60, rounds=2, repeats=1)
    return profile_device(
        space,
        None,
        config,
        load=machine.load,
        clock=machine.clock,
        find_reader=lambda accelerator: None,
    )


@pytest.fixture
def path(tmp_path: Path, file: DeviceFile) -> Path:
    target = tmp_path / "device.json"
    file.save(target)
    return target


def test_round_trip(path: Path, file: DeviceFile) -> None:
    loaded = DeviceFile.load(path)
    assert loaded == file
    assert loaded.device.digest == file.device.digest
    assert [p.name for p in path.parent.iterdir()] == ["device.json"]


def test_a_crash_while_writing_leaves_the_old_file(
    path: Path, file: DeviceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def crash(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        file.model_copy(update={"created": "later"}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["device.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "expected schema_version 2, got 3; update netlathe"),
        ({"schema_version": 1}, "measure the device again"),
        ({"references": []}, "damaged at references"),
        ({"references": [{"layers": []}]}, r"damaged at references\.0: .*expected a network"),
        ({"references": ["conv"]}, r"damaged at references\.0: .*expected a network"),
        ({"kind": "table"}, "expected a device file"),
        ({"report": {}}, r"damaged at report\.spearman"),
        ({"interval_scale": -1}, "damaged at interval_scale"),
        ({"surprise": 1}, "damaged at surprise"),
    ],
)
def test_files_that_are_not_right(path: Path, change: dict[str, Any], message: str) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DeviceFileError, match=message):
        DeviceFile.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"kind": NaN}'])
def test_files_that_are_something_else(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DeviceFileError, match=str(path)):
        DeviceFile.load(path)


def _numbers(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        return [found for key, inner in items for found in _numbers(inner, (*at, key))]
    return [at] if isinstance(node, float) and node > 0 else []


def test_a_number_that_changed_is_noticed(path: Path) -> None:
    """Any of them: the others still make a valid file."""
    text = path.read_text()
    places = _numbers(json.loads(text))
    assert len(places) > 100
    for i in np.random.default_rng(0).choice(len(places), 20, replace=False):
        data = json.loads(text)
        *way, last = places[i]
        node = data
        for key in way:
            node = node[key]
        node[last] *= 1.0009
        path.write_text(json.dumps(data))
        with pytest.raises(DeviceFileChanged, match=r"not as they were written.*copy of it back"):
            DeviceFile.load(path)


def test_files_without_a_checksum_are_taken_as_they_are(path: Path, file: DeviceFile) -> None:
    """Of older versions, or changed on purpose. Spaces and order do not matter."""
    data = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(data.items())), indent=3))
    assert DeviceFile.load(path) == file
    del data["sha256"]
    path.write_text(json.dumps({**data, "created": "today"}))
    assert DeviceFile.load(path) == file.model_copy(update={"created": "today"})


def test_a_truncated_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DeviceFileError, match="measure the device again"):
        DeviceFile.load(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DeviceFile.load(tmp_path / "none.json")


def test_another_space_is_predicted_with_wider_intervals(
    file: DeviceFile, space: StagedSpace, networks: list[Network], machine: Any
) -> None:
    stages = (StageConfig(channels=24, layers=2), StageConfig(channels=40, layers=2, stride=2))
    other = StagedSpace(
        StagedSpaceConfig(stem_channels=8, stages=stages),
        input_shape=Shape(3, 12, 12),
        num_classes=5,
    )
    assert other.digest != file.space_digest == space.digest
    model = file.cost_model()
    rng = np.random.default_rng(0)
    unknown = [other.resolve(other.sample(rng)) for _ in range(40)]
    costs = [c.latency_ms[-1] for c in model.predict(unknown)]
    errors = [abs(c.value / machine.true_ms(n) - 1) for c, n in zip(costs, unknown, strict=True)]
    assert np.mean(errors) < 0.3
    known = [c.latency_ms[-1] for c in model.predict(networks)]
    assert np.mean([c.std / c.value for c in costs]) > np.mean([c.std / c.value for c in known])


def test_measures_in_the_profile_s_milliseconds(
    file: DeviceFile, networks: list[Network], make_machine: Any
) -> None:
    slower = make_machine(noise=0.0)
    fast_ms = slower.true_ms
    slower.true_ms = lambda network: 2.5 * fast_ms(network)
    measured = file.measure(networks, load=slower.load, clock=slower.clock)
    expected = [fast_ms(network) for network in networks]
    np.testing.assert_allclose([m.latency.value for m in measured], expected, rtol=0.02)


def test_energy_of_measured_networks_is_estimated_without_a_counter(
    file: DeviceFile, networks: list[Network], machine: Any
) -> None:
    measured = file.measure(networks, load=machine.load, clock=machine.clock)
    costs = file.energy(networks, measured)
    predicted = [c.energy_mj[-1] for c in file.cost_model().predict(networks)]
    assert [c.value for c in costs] == pytest.approx([c.value for c in predicted])
    assert {c.source for c in costs} == {"estimated"}


def test_energy_of_measured_networks_is_measured_with_the_profile_s_counter(
    file: DeviceFile,
    networks: list[Network],
    make_machine: Any,
    make_reader: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = make_machine(noise=0.0, power_w=4.0)
    fitted = file.energy_model.model_copy(
        update={"source": "predicted", "reader": "fake", "mj_per_ms": 3.0, "estimate_scale": 0.0}
    )
    counted = file.model_copy(update={"energy_model": fitted})
    tools = {"load": machine.load, "clock": machine.clock}
    measured = counted.measure(networks[:3], **tools)
    reader = make_reader(machine)
    costs = counted.energy(
        networks[:3], measured, find_reader=lambda _: reader, sleep=machine.sleep, **tools
    )
    assert [c.value for c in costs] == pytest.approx(
        [4.0 * machine.true_ms(n) for n in networks[:3]], rel=0.01
    )
    assert {c.source for c in costs} == {"measured"}

    gone = counted.energy(networks[:3], measured, find_reader=lambda _: None)
    assert {c.source for c in gone} == {"predicted"}
    frozen = make_reader(make_machine())
    with caplog.at_level(logging.WARNING):
        still = counted.energy(
            networks[:3], measured, find_reader=lambda _: frozen, sleep=machine.sleep, **tools
        )
    assert still == gone
    assert "predicted, not measured" in caplog.text


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_is_damaged_is_named(
    file: DeviceFile, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    content = file.model_dump_json().encode()
    path.write_bytes(data.draw(damaged_json(content) | damaged_bytes(content)))
    with at_most(DeviceFileError):
        DeviceFile.load(path).cost_model()
