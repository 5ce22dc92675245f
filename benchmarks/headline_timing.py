"""Latencies of found networks and their peers, interleaved in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from headline_records import Timed
from numpy.typing import NDArray
from scipy import stats

from archspace import Network
from latency_models import Device, measure_networks, prefix_networks


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """A found network and its peer. `exit_shares`: of the samples, leaving at each head of the found one."""

    found: Network
    exit_shares: tuple[float, ...]
    peer: Network


def time_contests(
    contests: Sequence[Contest], device: Device, *, sessions: int = 9, rounds: int = 20
) -> list[Timed]:
    """Measure all networks together, `sessions` times, each time with new runtime sessions and weights in new places.

    A found network is measured up to each of its heads; where no exit is taken, all heads are computed nevertheless.

    Args:
        device: `Device.here`.
        sessions: at least 2.
        rounds: of interleaved passes in each session.
    """
    found = [prefix_networks(contest.found) for contest in contests]  # the last is the whole
    networks = [network for prefixes in found for network in prefixes]
    networks += [contest.peer for contest in contests]
    logs = np.log(
        [
            [m.latency.value for m in measure_networks(networks, device, rounds=rounds, seed=seed)]
            for seed in range(sessions)
        ]
    )  # (sessions, all prefixes + peers)
    first, peer = 0, sum(map(len, found))
    timed = []
    for contest, prefixes in zip(contests, found, strict=True):
        own = logs[:, first : first + len(prefixes)]
        timed.append(compared(own, np.asarray(contest.exit_shares), logs[:, peer]))
        first, peer = first + len(prefixes), peer + 1
    return timed


def compared(
    found: NDArray[np.float64], exit_shares: NDArray[np.float64], peer: NDArray[np.float64]
) -> Timed:
    """Logarithms of ms: `found` (sessions, heads), `peer` (sessions,)."""
    ratios = peer - found[:, -1]
    half = float(stats.t.ppf(0.975, len(ratios) - 1) * stats.sem(ratios))
    middle = float(ratios.mean())
    low, ratio, high = np.exp([middle - half, middle, middle + half]).tolist()
    by_head = np.exp(found.mean(axis=0))
    return Timed(
        found_ms=float(by_head[-1]),
        found_exit_ms=float(by_head @ exit_shares),
        peer_ms=float(np.exp(peer.mean())),
        ratio=ratio,
        low=low,
        high=high,
    )
