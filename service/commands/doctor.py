"""`netlathe doctor`: what this machine offers, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from service.output import print_json, print_table
from service.run_folder import installed_versions

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report."""

    name: str
    state: State
    detail: str


def run_doctor(*, as_json: bool) -> None:
    """Run all checks; a check that itself fails is a problem with its message, not a crash."""
    checks = [_guarded(name, check) for name, check in CHECKS.items()]
    if as_json:
        print_json([asdict(check) for check in checks])
        return
    marks = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
    rows = [(check.name, marks[check.state], check.detail) for check in checks]
    print_table("This machine", ("what", "state", "detail"), rows)


def _guarded(name: str, check: Callable[[], tuple[State, str]]) -> Check:
    try:
        state, detail = check()
    except Exception as error:
        return Check(name, "problem", f"{type(error).__name__}: {error}")
    return Check(name, state, detail)


def _cores() -> tuple[State, str]:
    usable = len(os.sched_getaffinity(0))
    return "ok", f"{usable} usable, {platform.machine()}, {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def _memory() -> tuple[State, str]:
    memory = psutil.virtual_memory()
    free = memory.available / 2**30
    return ("ok" if free > 2 else "problem"), f"{free:.1f} of {memory.total / 2**30:.1f} GiB free"


def _disk() -> tuple[State, str]:
    usage = shutil.disk_usage(Path.cwd())
    free = usage.free / 2**30
    return ("ok" if free > 2 else "problem"), f"{free:.1f} GiB free here"


def _gpu() -> tuple[State, str]:
    import torch

    if not torch.cuda.is_available():
        return "note", "none that torch can use: children train on the CPU"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return "ok", ", ".join(names)


def _energy() -> tuple[State, str]:
    from latency_models import find_energy_reader

    reader = find_energy_reader()
    if reader is None:
        return "note", "no NVML or RAPL counter: energy is estimated from MACs and bytes"
    return "ok", f"measured with {reader.name}"


def _clock() -> tuple[State, str]:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if not path.exists():
        return "note", "clock governor not readable (usual on virtual machines): timings vary"
    governor = path.read_text().strip()
    return ("ok" if governor == "performance" else "note"), f"governor {governor}"


def _ray() -> tuple[State, str]:
    import ray

    shared = shutil.disk_usage("/dev/shm").free / 2**30 if Path("/dev/shm").exists() else 0.0
    detail = f"ray {ray.__version__}, {shared:.1f} GiB shared memory"
    return ("ok" if shared > 0.5 else "problem"), detail


def _versions() -> tuple[State, str]:
    versions = installed_versions()
    missing = [name for name, found in versions.items() if found == "unknown"]
    text = ", ".join(f"{name} {found}" for name, found in versions.items())
    return ("problem" if missing else "ok"), text


CHECKS: dict[str, Callable[[], tuple[State, str]]] = {
    "cores": _cores,
    "memory": _memory,
    "disk": _disk,
    "GPU": _gpu,
    "energy counters": _energy,
    "clock": _clock,
    "Ray": _ray,
    "versions": _versions,
}
