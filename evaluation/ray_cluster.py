"""The Ray that children run on, and what runs in its workers. The one file that imports Ray.

A cluster started here ends with this process, however that ends: the kernel kills its processes when the thread
that started them ends, so `Cluster` must be made in a thread that stays (the main one). After a SIGKILL workers are
gone in seconds; two idle helpers of Ray's take another minute.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.child_runner import ChildLimits, memory_ceiling, run_child, run_final
from evaluation.evaluator import EvaluatorUnavailable, TrainedChild
from evaluation.evaluator_config import EvaluatorConfig
from evaluation.recipe import PLAIN, Recipe
from evaluation.results import ChildResult, ChildTask

if TYPE_CHECKING:
    from child_models import Dataset, TrainingConfig

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 15.0
"""How long a cluster at an address may take to answer."""
NEW_FOLDER_S = 60.0
"""Session folders younger than this are left alone by other searches."""
_MB = 1024 * 1024


class ChildWorker:
    """Lives in a worker process, where it is an actor."""

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        training: TrainingConfig,
        limits: ChildLimits,
        recipe: Recipe = PLAIN,
    ) -> None:
        # torch is loaded now, while others still start; dynamo too, which a process's first optimiser would
        # otherwise load, for seconds
        import torch._dynamo  # noqa: F401

        import child_models.training  # noqa: F401

        # Ray gives arrays that are read-only; nobody here writes into them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        self._name = f"{name}@{socket.gethostname()}"
        self._dataset = dataset
        self._training = training
        self._limits = limits
        self._recipe = recipe

    def ready(self) -> int:
        return os.getpid()

    def child(self, task: ChildTask) -> ChildResult:
        with memory_ceiling(self._limits.memory_mb):
            return run_child(
                task, self._dataset, self._training, self._limits, self._name, self._recipe
            )

    def final(self, task: ChildTask) -> TrainedChild | ChildResult:
        limits = ChildLimits(memory_mb=self._limits.memory_mb)  # the time limit is a search child's
        with memory_ceiling(self._limits.memory_mb):
            return run_final(task, self._dataset, self._training, limits, self._name, self._recipe)


class WorkerLost(Exception):
    """The worker's process or machine is gone."""


class Cluster:
    """The Ray that children run on, started or joined, with the data set in its object store.

    `dataset`, `training`, `recipe`: what workers are made with.
    """

    def __init__(
        self,
        config: EvaluatorConfig,
        dataset: Dataset,
        training: TrainingConfig,
        recipe: Recipe = PLAIN,
    ) -> None:
        self.training = training
        self._folder: _SessionFolder | None = None
        self._joined = False
        try:
            ray = self._ray = import_ray(own=config.address is None)
            with SignalHandlersKept():
                if ray.is_initialized():
                    _log.info("using the Ray that this process is connected to")
                elif config.address is None:
                    self._start(config, dataset)
                else:
                    self._join(config.address)
            self.dataset = ray.put(dataset)
            self.recipe = ray.put(recipe)
            self.actor_class = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(
                ChildWorker
            )
        except BaseException:
            self.close()
            raise

    def _start(self, config: EvaluatorConfig, dataset: Dataset) -> None:
        self._folder = _SessionFolder()
        splits = (dataset.train, dataset.validation, dataset.test)
        data_bytes = sum(split.images.nbytes + split.labels.nbytes for split in splits)
        self._joined = True
        try:
            self._ray.init(
                address="local",
                num_cpus=config.workers or own_cores(),
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                object_store_memory=3 * data_bytes + 128 * _MB,
                _node_ip_address="127.0.0.1",
                _temp_dir=str(self._folder.path),
            )
        except Exception as error:
            raise EvaluatorUnavailable(
                f"Ray cannot start here: {error}; `netlathe doctor` looks at it, and evaluator.kind "
                "local trains without Ray"
            ) from error

    def _join(self, address: str) -> None:
        self._joined = True
        join(self._ray, address)

    @property
    def cores(self) -> int:
        """CPUs of the whole cluster, at least 1."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def now(self) -> float:
        """Seconds on the clock that `wait` goes by."""
        return time.monotonic()

    def wait(self, replies: list[Any], timeout_s: float) -> list[Any]:
        """Those replies that are there, after at most `timeout_s`."""
        ready: list[Any] = self._ray.wait(replies, num_returns=1, timeout=timeout_s)[0]
        if ready:  # others may have come with it
            ready = self._ray.wait(replies, num_returns=len(replies), timeout=0)[0]
        return ready

    def get(self, reply: Any) -> Any:
        """A reply's value.

        Raises:
            WorkerLost: there is none and will be none.
            Exception: what the worker's code raised.
        """
        return value_of(self._ray, reply)

    def kill(self, actor: Any) -> None:
        """End an actor's process; one that is gone already is fine."""
        kill_actor(self._ray, actor)

    def close(self) -> None:
        """Leave the cluster, or end it if it was started here."""
        if self._joined:
            with SignalHandlersKept():
                self._ray.shutdown()
            self._joined = False
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


class _SessionFolder:
    """Where a cluster started here keeps its logs and sockets; a lock shows that it is in use.

    Folders of searches that were killed are removed when the next one starts.
    """

    PREFIX = "nl-"  # short: paths of Unix sockets may have about 100 characters

    def __init__(self) -> None:
        for lock in Path(tempfile.gettempdir()).glob(f"{self.PREFIX}*/lock"):
            _remove_if_abandoned(lock)
        self.path = Path(tempfile.mkdtemp(prefix=self.PREFIX))
        self._lock = (self.path / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_if_abandoned(lock: Path) -> None:
    try:
        if time.time() - lock.stat().st_mtime < NEW_FOLDER_S:
            return  # perhaps it is just being made, and not locked yet
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    except OSError:
        pass  # in use, somebody else's, or gone


def own_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def import_ray(*, own: bool) -> Any:
    """Ray, with settings that must stand before its import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if own and "RAY_AUTH_MODE" not in os.environ:
        # a token of our own, in memory: else Ray writes one into the user's home
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
        import ray.util.scheduling_strategies
    except Exception as error:  # half-installed packages raise all sorts of things
        raise EvaluatorUnavailable(
            f"Ray cannot be imported ({type(error).__name__}: {error}); reinstall it, or set "
            "evaluator.kind: local"
        ) from error
    return ray


def join(ray: Any, address: str) -> None:
    """Connect this process to the cluster whose head node has `address`. Raises EvaluatorUnavailable."""
    _check_reachable(address)
    try:
        ray.init(address=address, configure_logging=False, log_to_driver=False)
    except Exception as error:
        raise EvaluatorUnavailable(
            f"cannot join the Ray cluster at {address}: {error}; check the address (the head "
            "node's GCS port), that it runs the same Ray and Python, and RAY_AUTH_TOKEN"
        ) from error


def value_of(ray: Any, reply: Any) -> Any:
    """See `Cluster.get`."""
    try:
        return ray.get(reply)
    except ray.exceptions.RayTaskError as error:
        cause: Exception = error.cause
        raise cause from error
    except ray.exceptions.RayError as error:
        raise WorkerLost(" ".join(str(error).split())) from error


def kill_actor(ray: Any, actor: Any) -> None:
    """See `Cluster.kill`."""
    try:
        ray.kill(actor, no_restart=True)
    except Exception as error:
        _log.debug("kill: %s", error)


def _check_reachable(address: str) -> None:
    """Raise within about 20 s if no Ray cluster answers; `ray.init` alone would wait for minutes."""
    advice = "start it with `ray start --head`, or leave evaluator.address out to start one here"
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise EvaluatorUnavailable(
            f"no Ray cluster answers at {address} ({error}); {advice}"
        ) from error
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(check, capture_output=True, text=True, timeout=CONNECT_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise EvaluatorUnavailable(
            f"what answers at {address} is not a Ray head node that this machine may join; {advice}"
        ) from error
    if done.returncode == 1:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise EvaluatorUnavailable(
            f"the Ray cluster at {address} refuses: {lines[-1]}; it must run the same Ray and Python, "
            "with the same RAY_AUTH_TOKEN"
        )


class SignalHandlersKept:
    """`ray.init` puts its own SIGTERM handler in place; whoever configured one keeps it."""

    def __enter__(self) -> None:
        self._in_main = threading.current_thread() is threading.main_thread()
        if self._in_main:
            self._handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *exc: object) -> None:
        if self._in_main:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
