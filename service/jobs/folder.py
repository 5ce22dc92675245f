"""Where the jobs of a results folder keep things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archspace import sqlite_url
from service.run_folder import RunFolder

JOBS_DB = "jobs.db"


@dataclass(frozen=True, slots=True)
class JobsFolder:
    """Paths. A job's run directory is ``RESULTS/ID``, like that of any search.

    Attributes:
        ledgers: URL of the database that has the ledgers of jobs, where these are not in their run directories.
    """

    results: Path
    ledgers: str | None = None

    @property
    def database_url(self) -> str:
        """Of the store, where no other is given."""
        return sqlite_url((self.results / JOBS_DB).absolute())

    @property
    def shared_results_url(self) -> str:
        """Of the results that jobs share, where no other database is given."""
        return sqlite_url((self.results / ".jobs" / "results.db").absolute())

    def run(self, job_id: str) -> RunFolder:
        """The job's run directory."""
        return RunFolder(self.results / job_id, self.ledgers)

    def config(self, job_id: str) -> Path:
        """What the job's search is started with."""
        return self.results / ".jobs" / f"{job_id}.yaml"

    def log(self, job_id: str) -> Path:
        """All that its processes said, attempt after attempt."""
        return self.results / ".jobs" / f"{job_id}.log"

    def place(self, job_id: str) -> Path:
        """What the server that has the job, or had it last, told its process of cluster and workers."""
        return self.results / ".jobs" / f"{job_id}.place.json"

    @property
    def proof(self) -> Path:
        """What a machine must see to carry jobs out."""
        return self.results / ".jobs" / "shared"
