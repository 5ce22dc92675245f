"""How long the HTTP interface takes to answer many clients at once.

    python benchmarks/api_load.py --clients 50 --seconds 20

One job has 5,000 results in its ledger, which grows by one every second as that of a running search does; 49 others are small.
Prints median and 99th percentile of each endpoint in milliseconds, and how many answers were no success. Clients and server
share this machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import sqlalchemy as sa

from evaluation.database import make_engine, make_url
from evaluation.tables import metadata, proposals_table, sessions_table
from service.http.serving import http_server
from service.jobs.folder import JobsFolder
from service.jobs.spec import JobSpec
from service.jobs.store import JobStore
from service.run_folder import RunFolder

LARGE, JOBS = 5_000, 50
ENDPOINTS = (
    "/jobs",
    "/jobs/job-0",
    "/jobs/job-0/events",
    "/jobs/job-0/best",
    "/jobs/job-0/points",
    "/jobs/job-7",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        folder = JobsFolder(Path(path))
        store = JobStore(folder.database_url)
        for number in range(JOBS):
            store.submit(f"job-{number}", JobSpec(config={"name": "x"}, seed=number))
            fill(folder.run(f"job-{number}"), LARGE if number == 0 else 20)
        store.close()
        done = threading.Event()
        writer = threading.Thread(target=grow, args=(folder.run("job-0"), done))
        writer.start()
        # clients have a process of their own: threads beside the server's would take turns with it
        with (
            http_server(folder.database_url, folder, "0", token_file=None) as url,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
        ):
            times, failed = pool.submit(
                load, f"{url}/api/v1", options.clients, options.seconds
            ).result()
        done.set()
        writer.join()
    together = [seconds for own in times.values() for seconds in own]
    times["all"], failed["all"] = together, sum(failed.values())
    print("endpoint | answers | ms, median | ms, 99 % | failed")
    for endpoint, own in times.items():
        middle, slow = np.percentile(1e3 * np.array(own), [50, 99])
        print(f"{endpoint} | {len(own)} | {middle:.1f} | {slow:.1f} | {failed[endpoint]}")


def fill(run: RunFolder, count: int) -> None:
    """A ledger with `count` results."""
    run.path.mkdir(parents=True)
    engine = make_engine(make_url(run.ledger_url)).execution_options(writes=True)
    with engine.begin() as connection:
        metadata.create_all(connection)
        session = {"id": 1, "run": "r", "strategy": "ppo", "seed": 0, "budget": 10_000.0}
        session |= {"space_digest": "s", "settings": "{}"}
        connection.execute(sa.insert(sessions_table).values(**session))
        connection.execute(sa.insert(proposals_table), [proposal(i) for i in range(count)])
    engine.dispose()


def proposal(sequence: int) -> dict[str, object]:
    """As a search writes it."""
    accuracy = 0.5 + 0.4 * (sequence * 7919 % 1000) / 1000
    cost = {"value": 1.0 + sequence * 104729 % 1000 / 1000, "std": 0.01, "source": "predicted"}
    costs = dict.fromkeys(("latency_ms", "latency_worst_ms", "energy_mj", "energy_worst_mj"), cost)
    return {
        "session_id": 1, "sequence": sequence, "choices": json.dumps([1] * 30), "digest": f"{sequence:016x}",
        "label": "", "is_new": True, "status": "done", "charged": 1.0, "reward": accuracy, "fidelity": None,
        "result": json.dumps({"digest": f"{sequence:016x}", "accuracy": accuracy, "exit_shares": [0.5, 0.5]}),
        "costs": json.dumps({**costs, "num_params": 1000, "macs": 10_000, "size_bytes": 4000}),
    }  # fmt: skip


def grow(run: RunFolder, done: threading.Event) -> None:
    engine = make_engine(make_url(run.ledger_url)).execution_options(writes=True)
    sequence = LARGE
    while not done.wait(1.0):
        with engine.begin() as connection:
            connection.execute(sa.insert(proposals_table), [proposal(sequence)])
        sequence += 1
    engine.dispose()


def load(url: str, clients: int, seconds: float) -> tuple[dict[str, list[float]], dict[str, int]]:
    """(seconds of each answer, answers that were no success), by endpoint."""
    times: dict[str, list[float]] = {endpoint: [] for endpoint in ENDPOINTS}
    failed = dict.fromkeys(ENDPOINTS, 0)
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        # no TLS here: to load the certificates takes each client's first tenth of a second, and all others' time
        with httpx2.Client(timeout=60, verify=False) as own:
            time.sleep(0.5 * number / clients)  # pages are not opened all at once
            turn = number
            while time.monotonic() < end:
                endpoint = ENDPOINTS[turn % len(ENDPOINTS)]
                turn += 1
                began = time.monotonic()
                answer = own.get(url + endpoint)
                times[endpoint].append(time.monotonic() - began)
                failed[endpoint] += answer.status_code != 200
                time.sleep(0.5)  # as a page that refreshes itself

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, failed


if __name__ == "__main__":
    main()
