"""Faults on a real local Ray cluster: killed workers, limits, a killed search, unreachable addresses."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from archspace import StagedSpace
from child_models import Dataset, DigitsConfig, TrainingConfig, load_data
from evaluation import (
    ChildResult,
    ChildTask,
    EvaluatorConfig,
    EvaluatorUnavailable,
    FailureReason,
    Fidelity,
    RayEvaluator,
    child_seed,
    stragglers,
)
from evaluation.ray_cluster import _SessionFolder

LONG = Fidelity(name="long", epochs=15)
SHORT = Fidelity(name="short", epochs=1)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture
def tasks(space: StagedSpace) -> Callable[[int, Fidelity], list[ChildTask]]:
    def make(count: int, fidelity: Fidelity) -> list[ChildTask]:
        rng = np.random.default_rng(5)
        architectures = [space.architecture(space.sample(rng)) for _ in range(count)]
        return [
            ChildTask(
                architecture=architecture,
                network=space.resolve(architecture.choices),
                fidelity=fidelity,
                replicate=0,
                seed=child_seed(0, architecture.digest, fidelity, 0),
            )
            for architecture in architectures
        ]

    return make


@pytest.fixture
def make_evaluator(dataset: Dataset) -> Iterator[Callable[..., RayEvaluator]]:
    made: list[RayEvaluator] = []

    def make(training: TrainingConfig | None = None, **settings: object) -> RayEvaluator:
        config = EvaluatorConfig.model_validate({"kind": "ray", "workers": 2, **settings})
        made.append(RayEvaluator(dataset, training or TrainingConfig(), config))
        return made[-1]

    yield make
    for evaluator in made:
        evaluator.close()


def _worker_processes() -> list[psutil.Process]:
    """This process's actors."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ChildWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def _bare(results: Iterator[tuple[int, ChildResult]]) -> list[ChildResult]:
    ordered = sorted(results, key=lambda pair: pair[0])
    return [replace(result, train_seconds=0.0, worker="") for _, result in ordered]


@pytest.mark.ray
def test_a_killed_worker_is_replaced_and_its_child_tried_again(
    make_evaluator: Callable[..., RayEvaluator],
    tasks: Callable[[int, Fidelity], list[ChildTask]],
) -> None:
    evaluator = make_evaluator()
    expected = _bare(evaluator.evaluate(tasks(3, LONG)))
    killed: list[int] = []

    def kill_one() -> None:
        _wait_for(lambda: any("training" in w.doing for w in evaluator.status()))
        time.sleep(0.3)
        victim = _worker_processes()[0]
        killed.append(victim.pid)
        victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    results = _bare(evaluator.evaluate(tasks(3, LONG)))
    killer.join()
    assert killed
    assert results == expected
    assert all(result.failure is None for result in results)


@pytest.mark.ray
def test_a_child_on_a_worker_that_stands_still_is_trained_by_the_idle_one(
    make_evaluator: Callable[..., RayEvaluator],
    tasks: Callable[[int, Fidelity], list[ChildTask]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stragglers, "LEAST_DEADLINE_S", 5.0)
    evaluator = make_evaluator()
    list(evaluator.evaluate(tasks(stragglers.LEAST_CHILDREN, SHORT)))
    expected = _bare(evaluator.evaluate(tasks(2, LONG)))
    stopped: list[psutil.Process] = []

    def stop_one() -> None:
        _wait_for(lambda: all("training" in w.doing for w in evaluator.status()))
        stopped.append(_worker_processes()[0])
        stopped[0].suspend()

    stopper = threading.Thread(target=stop_one)
    stopper.start()
    results = _bare(evaluator.evaluate(tasks(2, LONG)))
    stopper.join()
    assert results == expected
    assert all(result.failure is None for result in results)
    _wait_for(lambda: not stopped[0].is_running())


@pytest.mark.ray
def test_a_child_that_always_loses_its_worker_is_lost(
    make_evaluator: Callable[..., RayEvaluator],
    tasks: Callable[[int, Fidelity], list[ChildTask]],
) -> None:
    evaluator = make_evaluator(workers=1, max_retries=1)
    stop = threading.Event()

    def kill_all() -> None:
        while not stop.wait(0.2):
            if any("training" in w.doing for w in evaluator.status()):
                for process in _worker_processes():
                    _kill(process)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        results = evaluator.evaluate(tasks(4, LONG))
        lost = [next(results)[1], next(results)[1]]
        assert [result.failure for result in lost] == [FailureReason.LOST] * 2
        assert "died 2 times" in lost[0].message
        with pytest.raises(EvaluatorUnavailable, match="3 children in a row"):
            next(results)
    finally:
        stop.set()
        killer.join()
    (result,) = _bare(evaluator.evaluate(tasks(1, SHORT)))  # when the killing has stopped
    assert result.failure is None


@pytest.mark.ray
def test_limits_and_divergence_are_results(
    make_evaluator: Callable[..., RayEvaluator],
    tasks: Callable[[int, Fidelity], list[ChildTask]],
) -> None:
    slow = make_evaluator(child_timeout_s=0.05)
    assert {r.failure for r in _bare(slow.evaluate(tasks(2, LONG)))} == {FailureReason.TIMEOUT}
    slow.close()
    greedy = make_evaluator(child_memory_mb=0.1)
    assert FailureReason.OOM in {r.failure for r in _bare(greedy.evaluate(tasks(2, LONG)))}
    finals = [outcome for _, outcome in greedy.train_final(tasks(4, LONG))]
    assert FailureReason.OOM in {f.failure for f in finals if isinstance(f, ChildResult)}
    greedy.close()
    wild = make_evaluator(
        TrainingConfig(optimizer="sgd", learning_rate=10, momentum=0.99, clip_norm=None)
    )
    assert {r.failure for r in _bare(wild.evaluate(tasks(2, LONG)))} == {FailureReason.NONFINITE}


@pytest.mark.ray
def test_a_child_that_does_not_stop_itself_is_stopped(
    make_evaluator: Callable[..., RayEvaluator],
    tasks: Callable[[int, Fidelity], list[ChildTask]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = make_evaluator(child_timeout_s=0.2)
    monkeypatch.setattr("evaluation.child_runner.GRACE_S", 1.0)
    list(evaluator.evaluate(tasks(1, SHORT)))  # workers are up

    def freeze() -> None:
        _wait_for(lambda: any("training" in w.doing for w in evaluator.status()))
        for process in _worker_processes():
            process.suspend()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    (result,) = _bare(evaluator.evaluate(tasks(1, Fidelity(name="search", epochs=5000))))
    freezer.join()
    assert result.failure is FailureReason.TIMEOUT


@pytest.mark.ray
def test_the_callers_signal_handlers_and_home_stay(
    make_evaluator: Callable[..., RayEvaluator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    evaluator = make_evaluator()
    evaluator.warm_up()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    children = psutil.Process().children(recursive=True)
    assert len(children) > 2
    evaluator.close()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not (tmp_path / ".ray" / "auth_token").exists()


SEARCH = """
import sys, time
import numpy as np
from archspace import StagedSpace, StagedSpaceConfig
from child_models import DigitsConfig, TrainingConfig, load_data
from evaluation import ChildTask, EvaluatorConfig, Fidelity, RayEvaluator
dataset = load_data(DigitsConfig())
space = StagedSpace(
    StagedSpaceConfig.model_validate({"stages": [{"channels": 16, "layers": 1, "stride": 1}]}),
    input_shape=dataset.input_shape, num_classes=dataset.num_classes,
)
evaluator = RayEvaluator(dataset, TrainingConfig(), EvaluatorConfig(kind="ray", workers=2))
choices = space.sample(np.random.default_rng(0))
fidelity = Fidelity(name="search", epochs=100000)
task = ChildTask(architecture=space.architecture(choices), network=space.resolve(choices),
                 fidelity=fidelity, replicate=0, seed=0)
evaluator.warm_up()
print("up", flush=True)
list(evaluator.evaluate([task, task]))
"""


@pytest.mark.ray
def test_no_process_outlives_a_killed_search() -> None:
    search = subprocess.Popen([sys.executable, "-c", SEARCH], stdout=subprocess.PIPE, text=True)
    try:
        assert search.stdout is not None
        assert search.stdout.readline() == "up\n"
        me = psutil.Process(search.pid)

        def busy() -> bool:
            processes = me.children(recursive=True)
            return sum("ChildWorker.child" in " ".join(p.cmdline()) for p in processes) == 2

        _wait_for(busy)
        processes = me.children(recursive=True)
    finally:
        os.kill(search.pid, signal.SIGKILL)
        search.wait()
        assert search.stdout is not None
        search.stdout.close()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert {process.name() for process in alive} <= {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
    _, alive = psutil.wait_procs(alive, timeout=90)  # they first try to reach the cluster, for 60 s
    assert not alive


def test_folders_of_killed_searches_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    in_use = _SessionFolder()
    abandoned = tmp_path / "nl-killed"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    (abandoned / "session").mkdir()
    _SessionFolder().remove()
    assert abandoned.exists()  # too young to tell
    for folder in (abandoned, in_use.path):
        os.utime(folder / "lock", (0, 0))
    other = _SessionFolder()
    assert not abandoned.exists()
    assert in_use.path.exists()
    for folder in (in_use, other):
        folder.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_unreachable_clusters_are_explained_in_time(
    make_evaluator: Callable[..., RayEvaluator],
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        evaluator = make_evaluator(workers=None, address=f"127.0.0.1:{port}")
        with pytest.raises(EvaluatorUnavailable, match=r"no Ray cluster answers .*`ray start"):
            evaluator.warm_up()
        nobody.listen()  # something, but not Ray
        started = time.monotonic()
        with pytest.raises(EvaluatorUnavailable, match="not a Ray head node"):
            evaluator.warm_up()
        assert time.monotonic() - started < 25


@pytest.mark.ray
def test_a_cluster_that_runs_already_is_joined_and_left_running(
    make_evaluator: Callable[..., RayEvaluator],
    tasks: Callable[[int, Fidelity], list[ChildTask]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN" not in os.environ:  # one that this process has used already must stay
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    folder = _SessionFolder()
    ray_cli = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    where = ["--node-ip-address=127.0.0.1", f"--temp-dir={folder.path}"]
    with (tmp_path / "log").open("w") as log:
        head = subprocess.Popen([*ray_cli, *options, *where], stdout=log, stderr=log)
    try:
        _wait_for(lambda: "Ray runtime started" in (tmp_path / "log").read_text())
        evaluator = make_evaluator(workers=None, address=f"127.0.0.1:{port}")
        results = _bare(evaluator.evaluate(tasks(3, SHORT)))
        assert all(result.failure is None for result in results)
        assert len(evaluator.status()) == 2
        evaluator.close()
        socket.create_connection(("127.0.0.1", port), timeout=5).close()  # it still runs
    finally:
        processes = psutil.Process(head.pid).children(recursive=True)
        head.kill()
        head.wait()
        for process in processes:
            _kill(process)
        psutil.wait_procs(processes, timeout=20)
        folder.remove()


def _kill(process: psutil.Process) -> None:
    """Ray may have ended it just before."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
