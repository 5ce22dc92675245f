"""Machines of a running Ray cluster as places for objects that live long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evaluation.ray_cluster import (
    SignalHandlersKept,
    WorkerLost,
    import_ray,
    join,
    kill_actor,
    value_of,
)

_HEAD = "node:__internal_head__"
"""A resource of the head node alone."""


class RayHosts:
    """This process's connection to the cluster at `address`; what it hosts there ends when this process does.

    Raises:
        EvaluatorUnavailable: no such cluster, or it refuses.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._hosted: Counter[str] = Counter()  # so far, by node
        self._ray = import_ray(own=False)
        with SignalHandlersKept():
            join(self._ray, address)

    @property
    def cores(self) -> int:
        """CPUs of all machines that are alive, at least 1."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    @property
    def machines(self) -> frozenset[str]:
        """Names of the machines that are alive; several nodes may be on one."""
        return frozenset(node["NodeManagerHostname"] for node in self._ray.nodes() if node["Alive"])

    def host(self, kind: type, *arguments: Any) -> Any:
        """An actor of `kind` somewhere: it takes no CPU, and answers several calls at the same time.

        Not on the head node, unless that is the only one: whoever lives there dies with the whole cluster.
        Replies of one whose node dies meanwhile raise WorkerLost.

        Raises:
            WorkerLost: the cluster does not answer.
        """
        with _cluster_answers():
            return self._host(kind, *arguments)

    def _host(self, kind: type, *arguments: Any) -> Any:
        node = self._next_node()
        self._hosted[node] += 1
        affinity = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        remote = self._ray.remote(
            num_cpus=0,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=4,
            # a soft affinity often ends on the head node, although that node is alive and idle
            scheduling_strategy=affinity(node, soft=False),
        )
        return remote(kind).remote(*arguments)

    def _next_node(self) -> str:
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        others = [node for node in nodes if _HEAD not in node["Resources"]]
        ids: list[str] = [node["NodeID"] for node in others or nodes]
        return min(ids, key=lambda node: self._hosted[node])

    def is_there(self, reply: Any) -> bool:
        """Whether a reply can be had without waiting. Raises WorkerLost: the cluster does not answer."""
        with _cluster_answers():
            return bool(self._ray.wait([reply], num_returns=1, timeout=0)[0])

    def get(self, reply: Any) -> Any:
        """As `Cluster.get`. Raises WorkerLost, and what the host's code raised."""
        return value_of(self._ray, reply)

    def kill(self, actor: Any) -> None:
        """End an actor's process; one that is gone already is fine."""
        kill_actor(self._ray, actor)

    def close(self) -> None:
        """Leave the cluster; all that is hosted for this process ends. Safe to call twice."""
        with SignalHandlersKept():
            self._ray.shutdown()


@contextmanager
def _cluster_answers() -> Iterator[None]:
    """Raises WorkerLost where it does not: Ray raises all sorts of things then."""
    try:
        yield
    except Exception as error:
        raise WorkerLost(" ".join(str(error).split())) from error
