"""Rows of `job_faults.py`: a disk that is full, and bytes that changed."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from job_faults_outcome import Case, LeftOutError, Outcome
from job_faults_place import JOB, Place, Row, Setting, Watch

from evaluation import Ledger, LedgerError
from service.jobs.states import ENDED, JobState, Reason

DISK_MB = 48
FLIPS = 300
"""Of single bits of a ledger, each read back by itself."""


def full_disk(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """All of a small disk is taken at a random moment, and given back when the job is paused."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LeftOutError("mounting a small disk needs root on Linux")
    found = []
    for number in range(max(2, kills // 8)):
        apart = number % 2 == 1
        fault = f"full; its store {'elsewhere' if apart else 'on it, too'}"
        do = partial(_filled_at_random, setting, fault, apart, random.Random(rng.random()))
        found.append(Case(row="disk", fault=fault, do=do))
    return found


def _filled_at_random(setting: Setting, fault: str, apart: bool, rng: random.Random) -> Outcome:
    with _small_disk() as disk, tempfile.TemporaryDirectory() as elsewhere:
        url = f"sqlite:///{elsewhere}/jobs.db" if apart else None
        with Place(disk / "results", setting.device, store_url=url) as place:
            return _filled(place, setting, disk, fault, rng)


def _filled(place: Place, setting: Setting, disk: Path, fault: str, rng: random.Random) -> Outcome:
    place.serve()
    after_s = setting.moment(place, rng)
    watch = Watch(place, setting.whole)
    over = place.state() in ENDED
    told_while_full = False
    ballast = disk / "ballast"
    end = time.monotonic() + 60
    while not over and time.monotonic() < end:
        _fill(ballast)  # again and again: what the search gives up is taken, too
        if place.state() in (JobState.PAUSED, *ENDED):
            told_while_full = True
            break
        time.sleep(0.1)
    ballast.unlink(missing_ok=True)
    paused = False
    if not over:
        place.wait_for(JobState.PAUSED, *ENDED)
        paused = place.state() is JobState.PAUSED
    reasons = {e.reason for e in place.store.events(JOB) if e.reason is not None}
    if paused:
        place.store.resume(JOB)
    place.wait_for(*ENDED)
    note = "over before" if over else f"paused {'while' if told_while_full else 'after'} full"
    wanted = over or (paused and reasons == {Reason.DISK_FULL})
    return watch.outcome(
        "disk", fault, after_s=after_s, as_wanted=wanted, note=note, recovered_s=None
    )


def _fill(ballast: Path) -> None:
    block = b"\0" * 65536
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(block)
            if len(block) > 1 and os.statvfs(ballast).f_bavail * 4096 < len(block):
                block = b"\0" * 512


@contextmanager
def _small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="netlathe-disk-") as folder:
        options = f"size={DISK_MB}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def damage(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """Bytes of a paused job's files are changed; it is resumed."""
    bits, ends, anywhere = (random.Random(rng.random()) for _ in range(3))
    kinds: list[tuple[str, str, Callable[[Path], bytes]]] = [
        ("checkpoint, a bit flipped", "checkpoints/*/at-*/arrays.safetensors", _flipped(bits)),
        ("checkpoint, truncated", "checkpoints/*/at-*/state.json", _truncated(ends)),
        (
            "checkpoint's manifest, a bit flipped",
            "checkpoints/*/at-*/manifest.json",
            _flipped(bits),
        ),
        ("ledger, a digit of a result changed", "ledger.db", _other_digit),
        ("ledger, truncated", "ledger.db", _truncated(ends)),
    ]
    cases = [
        Case(row="damage", fault=fault, do=partial(_damaged, setting, fault, pattern, change))
        for fault, pattern, change in kinds
    ]
    fault = "ledger, one bit flipped anywhere"
    flips = partial(_flips, setting, fault, anywhere)
    return [*cases, Case(row="damage", fault=fault, do=flips)]


def _damaged(
    setting: Setting, fault: str, pattern: str, change: Callable[[Path], bytes]
) -> Outcome:
    with setting.place("damage") as place:
        _paused(place)
        path = max(place.run.glob(pattern))
        kept = path.read_bytes()
        watch = Watch(place, setting.whole)
        path.write_bytes(change(path))
        place.store.resume(JOB)
        place.wait_for(*ENDED)
        note, wanted = "", True
        job = place.store.get(JOB)
        if path.name == "ledger.db":
            wanted = (job.state, job.reason) == (JobState.FAILED, Reason.CORRUPT_CHECKPOINT)
        if path.name == "ledger.db" and wanted:
            note = f"{job.message.replace(str(path), path.name)}; then put back and resumed"
            for each in ("ledger.db-wal", "ledger.db-shm"):
                (place.run / each).unlink(missing_ok=True)
            path.write_bytes(kept)
            place.store.resume(JOB)
            place.wait_for(*ENDED)
        return watch.outcome("damage", fault, as_wanted=wanted, note=note, recovered_s=None)


def _paused(place: Place) -> None:
    place.serve()
    place.wait_for_results(7)
    place.store.pause(JOB)
    place.wait_for(JobState.PAUSED)


def _flips(setting: Setting, fault: str, rng: random.Random) -> Outcome:
    """Single bits anywhere in the whole run's ledger: each is refused, or what is read is what was written."""
    path = setting.work / "flips" / "ledger.db"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(setting.whole / "ledger.db", path)
    whole, before = path.read_bytes(), _contents(path)
    refused = same = other = 0
    for _ in range(FLIPS):
        changed = bytearray(whole)
        changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            found = _contents(path)
        except LedgerError:
            refused += 1
        else:
            same, other = same + (found == before), other + (found != before)
    note = f"{FLIPS} flips: {refused} refused, {same} without effect, {other} wrong"
    return Outcome(row="damage", fault=fault, as_wanted=other == 0, note=note)


def _contents(path: Path) -> list[object]:
    with Ledger(f"sqlite:///{path}") as ledger:
        return [(record, ledger.evaluations(record)) for record in ledger.sessions()]


def _flipped(rng: random.Random) -> Callable[[Path], bytes]:
    def change(path: Path) -> bytes:
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)

    return change


def _truncated(rng: random.Random) -> Callable[[Path], bytes]:
    def change(path: Path) -> bytes:
        data = path.read_bytes()
        return data[: int(rng.uniform(0.2, 0.9) * len(data))]

    return change


def _other_digit(path: Path) -> bytes:
    """The first digit of each accuracy, in proposals and in the cache of results."""
    return re.sub(
        rb'(?<="accuracy":0\.)\d', lambda m: b"2" if m[0] == b"1" else b"1", path.read_bytes()
    )


ROWS: dict[str, Row] = {
    "disk": full_disk,
    "damage": damage,
}
