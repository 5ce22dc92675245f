"""A server has room in the store for what it must still say when the disk is full."""

from __future__ import annotations

from pathlib import Path

from service.jobs.spec import JobSpec
from service.jobs.states import JobState, Reason
from service.jobs.store import JobStore

SPEC = JobSpec(config={"name": "digits"}, seed=0)


def test_changes_after_the_reserve_need_no_room(tmp_path: Path) -> None:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.submit("one", SPEC)
    store.reserve()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    for _ in range(30):
        job = store.claim("server", 15.0)
        assert job is not None
        assert job.lease is not None
        store.report("one", job.lease, JobState.RUNNING)
        for _ in range(5):
            store.renew("one", job.lease, 15.0)
        store.report("one", job.lease, JobState.PAUSED, reason=Reason.DISK_FULL, message="full")
        store.resume("one")
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == sizes
    store.close()
