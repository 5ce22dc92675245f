"""What is measured: the device and the runtime, as a config asks for them and as they were found."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from latency_models.errors import DeviceUnavailable

Runtime = Literal["onnxruntime", "torch", "external"]
"""``external``: whatever someone else measured with; it is not here."""
Accelerator = Literal["cpu", "cuda", "unknown"]
"""``unknown`` where the runtime is external."""

_CPU_INFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class DeviceConfig(BaseModel):
    """The device that networks are searched for. It is the machine that this runs on."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str | None = Field(default=None, min_length=1, max_length=100)
    """How people call it; None makes a name from the processor, the runtime and the threads."""
    runtime: Runtime = "onnxruntime"
    """What runs the networks: onnxruntime, or torch (eager). external needs an imported device file."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads within one operation; for cuda, those of the host."""
    batch_size: int = Field(default=1, ge=1, le=65536)
    """Images in one call. Latencies and energies are those of a call, not of an image."""
    accelerator: Accelerator = "cpu"
    """Where the networks run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """Versions that latencies depend on."""

    python: str
    onnxruntime: str
    torch: str
    netlathe: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A device as it was found.

    `processor` is the model of the processor that runs the networks (CPU or GPU); `clock_governor` is the
    CPU's frequency governor, ``"unknown"`` where it cannot be read (usual on virtual machines). `cores` is 0 where
    it is not known. `external_runtime` names the runtime where `runtime` is external, and is empty elsewhere.
    """

    name: str
    runtime: Runtime
    accelerator: Accelerator
    threads: int
    batch_size: int
    processor: str
    cores: int
    clock_governor: str
    versions: Versions
    external_runtime: str = ""

    @classmethod
    def here(cls, config: DeviceConfig | None = None) -> Device:
        """This machine, as `config` asks for it.

        Raises:
            DeviceUnavailable: no such accelerator for this runtime, fewer cores than threads, or a runtime
                that is not here.
        """
        config = config or DeviceConfig()
        if config.runtime == "external" or config.accelerator == "unknown":
            raise DeviceUnavailable(
                f"device.runtime: {config.runtime}, device.accelerator: {config.accelerator}, but nothing can be "
                "measured with that here; give a device file made by `netlathe latency import` with --device-file, "
                "or set device.runtime to onnxruntime or torch and device.accelerator to cpu or cuda"
            )
        cores = len(os.sched_getaffinity(0))
        if config.threads > cores:
            raise DeviceUnavailable(
                f"device.threads: {config.threads} threads, but this process may use {cores} cores; "
                f"set device.threads to {cores} or less"
            )
        if config.accelerator == "cuda":
            _check_cuda(config.runtime)
        processor = _gpu_name() if config.accelerator == "cuda" else cpu_name()
        plural = "" if config.threads == 1 else "s"
        return cls(
            name=config.name or f"{processor}, {config.runtime}, {config.threads} thread{plural}",
            runtime=config.runtime,
            accelerator=config.accelerator,
            threads=config.threads,
            batch_size=config.batch_size,
            processor=processor,
            cores=cores,
            clock_governor=clock_governor(),
            versions=Versions(
                python=platform.python_version(),
                onnxruntime=_version("onnxruntime", "onnxruntime-gpu"),
                torch=_version("torch"),
                netlathe=_version("netlathe"),
            ),
        )

    @classmethod
    def elsewhere(
        cls, *, name: str, processor: str, runtime: str, threads: int, batch_size: int
    ) -> Device:
        """A device that others measured; `processor` and `runtime` as they call them."""
        return cls(
            name=name,
            runtime="external",
            accelerator="unknown",
            threads=threads,
            batch_size=batch_size,
            processor=processor,
            cores=0,
            clock_governor="unknown",
            versions=Versions(
                python="unknown",
                onnxruntime="unknown",
                torch="unknown",
                netlathe=_version("netlathe"),
            ),
            external_runtime=runtime,
        )

    @property
    def digest(self) -> str:
        """16 hex digits over everything that latencies depend on; the name does not count."""
        content = asdict(self)
        del content["name"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Device) -> tuple[str, ...]:
        """What differs between two devices and matters for latencies, for people: ``"threads: 1, 2"``."""
        mine, others = asdict(self), asdict(other)
        for fields in (mine, others):
            del fields["name"]
            fields |= fields.pop("versions")
        return tuple(
            f"{name}: {mine[name]}, {others[name]}" for name in mine if mine[name] != others[name]
        )


def cpu_name() -> str:
    """The CPU's model name."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def clock_governor() -> str:
    """The first core's frequency governor, or ``"unknown"``."""
    try:
        return _GOVERNOR.read_text().strip()
    except OSError:
        return "unknown"


def _check_cuda(runtime: Runtime) -> None:
    if runtime == "torch":
        import torch

        if not torch.cuda.is_available():
            raise DeviceUnavailable(
                f"device.accelerator: cuda, but torch {torch.__version__} finds no CUDA device here; "
                "set device.accelerator to cpu, or install a CUDA build of torch on a machine with a GPU"
            )
        return
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise DeviceUnavailable(
            f"device.accelerator: cuda, but this ONNX Runtime has only {available}; set "
            "device.accelerator to cpu, install onnxruntime-gpu, or set device.runtime to torch"
        )


def _gpu_name() -> str:
    import torch

    # ONNX Runtime does not say which GPU it runs on; a CPU build of torch cannot either
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CUDA device 0"


def _version(*packages: str) -> str:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"
