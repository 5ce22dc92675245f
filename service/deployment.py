"""What the place where runs are carried out decides, and not their configs: databases, the cluster, how many workers.

A server tells its jobs' processes by environment variables, which whoever starts a search by hand may set, too.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import UsageError

LEDGER = "NETLATHE_LEDGER"
SHARED_RESULTS = "NETLATHE_SHARED_RESULTS"
RAY_ADDRESS = "NETLATHE_RAY_ADDRESS"
MAX_WORKERS = "NETLATHE_MAX_WORKERS"


def is_shared(url: str | None) -> bool:
    """Whether a store's URL is of a database that several machines may use, and not of a file."""
    return url is not None and not url.startswith("sqlite")


def is_loopback(host: str) -> bool:
    """Whether no other machine reaches this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """None: as the config says, or as on one machine.

    Attributes:
        ledger_url: the database of new runs' ledgers, instead of a file in the run directory.
        shared_results: the database of results that runs share.
        ray_address: host:port of the Ray cluster that trains children, whatever the config says.
        max_workers: how many children of one run may train at the same time, 1 or more.
    """

    ledger_url: str | None = None
    shared_results: str | None = None
    ray_address: str | None = None
    max_workers: int | None = None

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Deployment:
        """As the environment says. Raises UsageError."""
        workers = environment.get(MAX_WORKERS) or None
        if workers is not None and (not workers.isdigit() or int(workers) < 1):
            raise UsageError(f"{MAX_WORKERS}: expected a whole number of 1 or more, got {workers}")
        return cls(
            ledger_url=environment.get(LEDGER) or None,
            shared_results=environment.get(SHARED_RESULTS) or None,
            ray_address=environment.get(RAY_ADDRESS) or None,
            max_workers=int(workers) if workers is not None else None,
        )

    def workers(self, configured: int | None) -> int | None:
        """Children of a run that train at the same time, where its config says `configured`; None: as many as there are cores."""
        return min((n for n in (configured, self.max_workers) if n is not None), default=None)

    def to_environment(self) -> dict[str, str]:
        """For a process that is to have the same."""
        values = {
            LEDGER: self.ledger_url,
            SHARED_RESULTS: self.shared_results,
            RAY_ADDRESS: self.ray_address,
            MAX_WORKERS: self.max_workers,
        }
        return {name: str(value) for name, value in values.items() if value is not None}
