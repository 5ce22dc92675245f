"""Latencies of a found network and its peers, interleaved in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from headline_records import FOUND, Timed
from numpy.typing import NDArray
from scipy import stats

from archspace import Network
from latency_models import Device, measure_networks, prefix_networks


@dataclass(frozen=True, slots=True)
class Timings:
    """What `time_beside` gives: the found network, then its peers; and the expected latency with exits taken."""

    timed: tuple[Timed, ...]
    exit_latency_ms: float


def time_beside(
    found: Network,
    exit_shares: Sequence[float],
    peers: Sequence[tuple[str, Network]],
    device: Device,
    *,
    sessions: int = 9,
    rounds: int = 20,
) -> Timings:
    """Measure all networks `sessions` times, each time with new runtime sessions and weights in new places.

    Args:
        found: all its heads are computed, also where no exit is taken.
        exit_shares: of the samples, leaving at each of its heads.
        peers: name and network of each.
        device: `Device.here`.
        sessions: at least 2.
        rounds: of interleaved passes in each session.
    """
    prefixes = prefix_networks(found)  # the last one is the whole network
    networks = [*prefixes, *(network for _, network in peers)]
    ms = np.array(
        [
            [m.latency.value for m in measure_networks(networks, device, rounds=rounds, seed=seed)]
            for seed in range(sessions)
        ]
    )  # (sessions, prefixes + peers)
    whole = len(prefixes) - 1
    logs = np.log(ms[:, whole:])
    names = [FOUND, *(name for name, _ in peers)]
    by_head = np.exp(np.log(ms[:, : whole + 1]).mean(axis=0))
    return Timings(
        timed=tuple(compared(name, logs[:, i], logs[:, 0]) for i, name in enumerate(names)),
        exit_latency_ms=float(by_head @ np.asarray(exit_shares)),
    )


def compared(name: str, logs: NDArray[np.float64], found_logs: NDArray[np.float64]) -> Timed:
    """A network's latencies against the found one's: logarithms of ms, one a session."""
    ratios = logs - found_logs
    half = float(stats.t.ppf(0.975, len(ratios) - 1) * stats.sem(ratios))
    middle = float(ratios.mean())
    low, ratio, high = np.exp([middle - half, middle, middle + half]).tolist()
    return Timed(name=name, latency_ms=float(np.exp(logs.mean())), ratio=ratio, low=low, high=high)
