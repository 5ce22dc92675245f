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
from dataclasses import dataclass
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


Change = Callable[[Path], bytes | None]
"""A file to what is found in its place; None: nothing is."""


@dataclass(frozen=True)
class Damage:
    """What happens to a run's file between two processes.

    Attributes:
        pattern: of the file in the run's folder; the last one that there is.
        refused: the job ends as FAILED (`CORRUPT_CHECKPOINT`); else it goes on.
        killed: search and server are killed before, so that the write-ahead log is still there; else the job is paused.
    """

    fault: str
    pattern: str
    change: Change
    refused: bool = False
    killed: bool = False


def damage(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """Files of a job that nobody works on are changed or lost; it goes on."""
    bits, ends, anywhere = (random.Random(rng.random()) for _ in range(3))
    newest, ledger, log = "checkpoints/*/at-*", "ledger.db", "ledger.db-wal"
    kinds = [
        Damage("checkpoint, a bit flipped", f"{newest}/arrays.safetensors", _flipped(bits)),
        Damage("checkpoint, truncated", f"{newest}/state.json", _truncated(ends)),
        Damage("checkpoint's manifest, a bit flipped", f"{newest}/manifest.json", _flipped(bits)),
        Damage("ledger, a digit of a result changed", ledger, _other_digit, refused=True),
        Damage("ledger, truncated", ledger, _truncated(ends), refused=True),
        Damage("ledger, emptied", ledger, lambda _: b"", refused=True),
        Damage("ledger, removed", ledger, lambda _: None, refused=True),
        Damage("write-ahead log, a bit flipped", log, _flipped_early(bits), True, True),
        Damage("write-ahead log, truncated", log, _truncated(ends), True, True),
        Damage("write-ahead log, removed", log, lambda _: None, True, True),
        Damage("ledger's mark, a digit changed", "ledger-mark.json", _another_count),
        Damage("device file, a digit changed", "device.json", _another_latency, refused=True),
    ]
    cases = [
        Case(row="damage", fault=each.fault, do=partial(_damaged, setting, each)) for each in kinds
    ]
    fault = "ledger, one bit flipped anywhere"
    flips = partial(_flips, setting, fault, anywhere)
    return [*cases, Case(row="damage", fault=fault, do=flips)]


def _damaged(setting: Setting, damage: Damage) -> Outcome:
    with setting.place("damage") as place:
        (_killed if damage.killed else _paused)(place)
        path = max(place.run.glob(damage.pattern))
        kept = {each: each.read_bytes() for each in (path, *place.run.glob("ledger.db*"))}
        watch = Watch(place, setting.whole)
        changed = damage.change(path)
        if changed is None:
            path.unlink()
        else:
            path.write_bytes(changed)
        if damage.killed:
            place.serve()
        else:
            place.store.resume(JOB)
        place.wait_for(*ENDED)
        note, job = "", place.store.get(JOB)
        refused = (job.state, job.reason) == (JobState.FAILED, Reason.CORRUPT_CHECKPOINT)
        if refused:
            note = f"{job.message.replace(str(place.run), 'RUN')}; then put back and resumed"
            _put_back(place.run, kept)
            place.store.resume(JOB)
            place.wait_for(*ENDED)
        wanted = refused == damage.refused
        return watch.outcome("damage", damage.fault, as_wanted=wanted, note=note, recovered_s=None)


def _put_back(run: Path, kept: dict[Path, bytes]) -> None:
    for each in run.glob("ledger.db*"):
        each.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def _paused(place: Place) -> None:
    place.serve()
    place.wait_for_results(7)
    place.store.pause(JOB)
    place.wait_for(JobState.PAUSED)


def _killed(place: Place) -> None:
    server = place.serve()
    place.wait_for_results(7)
    place.kill_search()  # at once: with its server gone it would put its ledger in order
    server.kill()
    server.wait()
    place.wait(lambda: not place.searches())


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


def _flipped(rng: random.Random, share: float = 1.0) -> Change:
    """A bit of the file's first `share`."""

    def change(path: Path) -> bytes:
        data = bytearray(path.read_bytes())
        data[rng.randrange(int(share * len(data)))] ^= 1 << rng.randrange(8)
        return bytes(data)

    return change


def _flipped_early(rng: random.Random) -> Change:
    """What comes after the last commit, or was overwritten, does not count, so a bit of the log's first part."""
    return _flipped(rng, 0.25)


def _truncated(rng: random.Random) -> Change:
    def change(path: Path) -> bytes:
        data = path.read_bytes()
        return data[: int(rng.uniform(0.2, 0.9) * len(data))]

    return change


def _other_digit(path: Path) -> bytes:
    """The first digit of each accuracy, in proposals and in the cache of results."""
    return re.sub(
        rb'(?<="accuracy":0\.)\d', lambda m: b"2" if m[0] == b"1" else b"1", path.read_bytes()
    )


def _another_count(path: Path) -> bytes:
    return re.sub(rb'(?<="proposals": )\d', b"9", path.read_bytes())


def _another_latency(path: Path) -> bytes:
    """The last digit of the first latency."""
    return re.sub(
        rb"(?<=\d\.\d\d)\d", lambda m: b"2" if m[0] == b"1" else b"1", path.read_bytes(), count=1
    )


ROWS: dict[str, Row] = {
    "disk": full_disk,
    "damage": damage,
}
