"""Ten searches side by side in Optuna's dashboard: how long it takes to open them, and what that looks like.

    python benchmarks/dashboard_runs.py --work DIR --pictures docs/pictures

Ten jobs of 500 trials each (eight strategies, two of them with two seeds) search a made-up table of all cells of NAS-Bench-201, so
nothing is trained. One more study has 5,000 trials of 20 parameters, which is the most that a run's copy keeps. Prints seconds
until the dashboard has answered, and the server's CPU seconds: the first time, and as an open page asks again when the
dashboard's own cache has run out; and how long the jobs' route takes meanwhile. Then a headless Chromium takes pictures. Run
again, it goes on with what is in DIR.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pandas as pd
import psutil
from PIL import Image

from archspace import Decision, NasBench201Space
from search.mirror_store import MirrorStore
from search.mirror_trials import MirrorTrial, Values
from service.http.dashboard import study_ids
from service.http.serving import http_server
from service.jobs.folder import JobsFolder
from service.jobs.states import ENDED
from service.jobs.store import JobStore
from service.jobs.submitting import search_spec, submit_search
from service.jobs.supervisor import POLL_S, Supervisor

RUNS = [
    *(
        (name, 0)
        for name in ("ppo", "ppo-plain", "reinforce", "evolution", "local", "tpe", "nsga2")
    ),
    *(("evolution", 1), ("random", 0), ("random", 1)),
]
TRIALS = 500
LARGE, LARGE_DECISIONS, LARGE_RUN = 5_000, 20, "large"
CACHE_S = 11.0
"""The dashboard reads a study again when what it has is older than 10 s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="kept")
    parser.add_argument("--pictures", type=Path, help="folder for screenshots; needs Chromium")
    options = parser.parse_args()
    folder = JobsFolder(options.work / "results")
    folder.results.mkdir(parents=True, exist_ok=True)
    store = JobStore(folder.database_url)
    search(store, folder, write_table(options.work / "cells.parquet"))
    ids = study_ids(folder.results)
    compared = [ids[f"{name}-s{seed}"] for name, seed in RUNS]
    fill_large(folder)
    # clients have a process of their own: threads beside the server's would take turns with it
    with (
        http_server(folder.database_url, folder, "0", token_file=None) as url,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        large = study_ids(folder.results)[LARGE_RUN]
        pool.submit(measure, url, os.getpid(), compared, large).result()
        if options.pictures is not None:
            pages = {
                "dashboard": (
                    f"/dashboard/compare-studies?ids={','.join(map(str, compared))}",
                    1000,
                ),
                "jobs-ten": ("/", 520),
            }
            for name, (path, height) in pages.items():
                take_picture(url + path, options.pictures / f"{name}.png", height)
    store.close()


def write_table(path: Path) -> Path:
    """All 15,625 cells: accuracy from the operations on the paths through the cell, costs from the operations alone."""
    space, rng = NasBench201Space(), np.random.default_rng(0)
    cells = np.array(list(itertools.product(range(5), repeat=6)))  # (cells, edges)
    worth = np.array([0.0, 0.35, 0.8, 1.0, 0.45])[cells]
    # edges are 0→1, 0→2, 1→2, 0→3, 1→3, 2→3: a path is worth the product of its edges
    paths = sum(worth[:, edges].prod(axis=1) for edges in ([3], [0, 4], [1, 5], [0, 2, 5]))
    accuracy = 60 + 33 * (1 - np.exp(-1.2 * paths)) + rng.normal(0, 0.4, len(cells))
    latency = 1 + np.array([0.0, 0.1, 0.6, 1.4, 0.3])[cells].sum(axis=1)
    frame = pd.DataFrame(
        {
            "arch_str": [space.arch_str(tuple(cell)) for cell in cells.tolist()],
            "accuracy": accuracy,
            "latency_ms": latency * rng.normal(1, 0.02, len(cells)),
            "energy_mj": latency * 2.5,
        }
    )
    frame.to_parquet(path)
    return path


def search(store: JobStore, folder: JobsFolder, table: Path) -> None:
    """Carry the ten jobs out, two at a time."""
    for name, seed in RUNS:
        config = {
            "name": name,
            "seed": seed,
            "space": {"kind": "nasbench201"},
            "evaluator": {
                "kind": "table", "table": str(table.absolute()), "accuracy_column": "accuracy",
                "latency_column": "latency_ms", "energy_column": "energy_mj",
            },
            "objective": {"kind": "minmax", "accuracy_floor": 0.7},
            "search": {"budget": TRIALS, "strategy": {"name": name}, "controls": []},
        }  # fmt: skip
        spec, job_id = search_spec(config, source=name)
        submit_search(store, folder, job_id, spec)
    supervisor = Supervisor(store, folder, at_once=2)
    began = time.monotonic()
    while any(job.state not in ENDED for job in store.jobs()):
        supervisor.step()
        time.sleep(POLL_S)
    states = {job.id: job.state for job in store.jobs()}
    assert set(states.values()) == {"SUCCEEDED"}, states
    print(f"searched in {time.monotonic() - began:.0f} s")


def fill_large(folder: JobsFolder) -> None:
    run = folder.run(LARGE_RUN).path
    run.mkdir(exist_ok=True)
    decisions = [Decision(f"d{i}", ("a", "b", "c", "d")) for i in range(LARGE_DECISIONS)]
    store = MirrorStore.open(folder.results, run, decisions)
    rng = np.random.default_rng(0)
    for number in range(LARGE):
        store.add(
            MirrorTrial(
                key=str(number),
                state="complete",
                params={d.name: d.choices[rng.integers(4)] for d in decisions},
                values=Values(rng.uniform(), rng.uniform(1, 9), rng.uniform(1, 9)),
                attributes={"reward": rng.uniform(), "sequence": number},
                document=None,
            )
        )
    store.close()


def cpu_s(process: psutil.Process) -> float:
    """Of a process and those that it started and that live."""
    return sum(sum(p.cpu_times()[:2]) for p in (process, *process.children()))


def measure(url: str, server: int, compared: list[int], large: int) -> None:
    """Print what each answer takes; `server` is the process that gives them."""
    process = psutil.Process(server)
    with httpx2.Client(base_url=url, timeout=300) as client:

        def answered(*paths: str) -> tuple[float, float, float]:
            """Seconds, CPU seconds of the server and of its dashboard's process, MB."""
            began, spent = time.monotonic(), cpu_s(process)
            size = sum(len(client.get(path).raise_for_status().content) for path in paths)
            return time.monotonic() - began, cpu_s(process) - spent, size / 1e6

        print(
            "what | first, s | CPU s | MB | update, s | CPU s | /api/v1/jobs meanwhile, ms (most)"
        )
        ten = [f"/api/studies/{study}" for study in compared]
        rows = {
            "the page itself": ["/dashboard", "/static/bundle.js", "/api/meta"],
            "list of studies": ["/api/studies"],
            f"one study of {TRIALS}": [ten[0]],
            f"ten studies of {TRIALS}": ten,
            f"one study of {LARGE}": [f"/api/studies/{large}"],
            f"importances of {TRIALS}": [f"{ten[0]}/param_importances"],
        }
        for what, paths in rows.items():
            time.sleep(CACHE_S)
            with asking(url) as times:
                first, first_cpu, size = answered(*paths)
                time.sleep(CACHE_S)
                # an open page asks for the trials that it has not yet
                is_study = paths[0].rpartition("/")[2].isdigit()
                count = LARGE if str(large) in paths[0] else TRIALS
                later, later_cpu, _ = answered(
                    *(f"{p}?after={count}" if is_study else p for p in paths)
                )
            print(
                f"{what} | {first:.2f} | {first_cpu:.2f} | {size:.1f} | {later:.2f} | {later_cpu:.2f} | "
                f"{1e3 * max(times):.0f}",
                flush=True,
            )


@contextmanager
def asking(url: str) -> Iterator[list[float]]:
    """Seconds of each answer of the jobs' route, asked again and again until the block ends."""
    times: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with httpx2.Client(timeout=300) as client:
            while not done.wait(0.05) or not times:
                began = time.monotonic()
                client.get(f"{url}/api/v1/jobs").raise_for_status()
                times.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    yield times
    done.set()
    thread.join()


def take_picture(url: str, path: Path, height: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium is not None, "Chromium is not installed"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [
        f"--window-size=1300,{height}",
        "--virtual-time-budget=30000",
        f"--screenshot={path.absolute()}",
    ]
    subprocess.run([*command, url], check=True, capture_output=True, timeout=300)
    with Image.open(path) as picture:
        picture.quantize(128).save(path, optimize=True)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
