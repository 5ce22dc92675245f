from dataclasses import replace

import pytest
from pydantic import ValidationError

from latency_models import Device, DeviceConfig, DeviceUnavailable


def test_names_itself_after_processor_runtime_and_threads() -> None:
    device = Device.here(DeviceConfig(runtime="torch"))
    assert device.name == f"{device.processor}, torch, 1 thread"
    assert device.processor
    assert device.versions.torch != "unknown"
    assert device.versions.onnxruntime != "unknown"


def test_digest_ignores_the_name_only() -> None:
    device = Device.here(DeviceConfig(name="a"))
    assert device.digest == replace(device, name="b").digest
    assert device.digest != replace(device, threads=device.threads + 1).digest
    versions = replace(device.versions, onnxruntime="0.0")
    assert device.digest != replace(device, versions=versions).digest


def test_differences_are_named() -> None:
    device = Device.here(DeviceConfig(name="a"))
    other = replace(device, name="b", threads=7, versions=replace(device.versions, torch="0.0"))
    assert device.differences(device) == ()
    assert device.differences(other) == (
        f"threads: {device.threads}, 7",
        f"torch: {device.versions.torch}, 0.0",
    )


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_refuses_a_missing_gpu(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceUnavailable, match=r"set device\.accelerator to cpu"):
        Device.here(DeviceConfig(accelerator="cuda", runtime=runtime))  # type: ignore[arg-type]


def test_refuses_more_threads_than_cores() -> None:
    with pytest.raises(DeviceUnavailable, match=r"set device\.threads to"):
        Device.here(DeviceConfig(threads=1024))


@pytest.mark.parametrize(
    "settings", [{"thread": 1}, {"threads": 0}, {"runtime": "tvm"}, {"batch_size": 0}]
)
def test_config_refuses(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DeviceConfig(**settings)  # type: ignore[arg-type]
