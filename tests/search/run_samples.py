"""Runs as a search would leave them: realistic in shape, made from a seed, without any training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from archspace import Architecture, Network, Shape, StagedSpace, StagedSpaceConfig
from child_models import count_macs, count_params
from evaluation import ChildResult, Evaluation, FailureReason, NetworkCosts
from latency_models import Cost
from search.pareto import hypervolume_2d, pareto_front, picks, point_of
from search.report_plots import LatencyPair
from search.summary import (
    SUMMARY_FILE,
    DataSummary,
    PickSummary,
    ProfileSummary,
    RunSummary,
    SessionSummary,
    SpaceSummary,
)
from search.trials import TRIALS_FILE, trials_frame, write_parquet_atomic


def make_evaluation(
    sequence: int = 0,
    accuracy: float | None = 0.9,
    latency_ms: float | None = 1.0,
    energy_mj: float = 1.0,
    *,
    digest: str | None = None,
    label: str | None = None,
    choices: tuple[int, ...] = (0,),
    failure: FailureReason | None = None,
    message: str = "",
    rejected: str = "",
    is_new: bool = True,
    reward: float = 0.5,
    exit_shares: tuple[float, ...] = (1.0,),
    exit_thresholds: tuple[float, ...] = (),
    num_params: int = 1000,
    macs: int = 10_000,
) -> Evaluation:
    """One evaluation; `latency_ms` None means no costs."""
    digest = digest or f"{sequence:016x}"
    costs = None
    if latency_ms is not None:
        latency = Cost(latency_ms, latency_ms * 0.05, "predicted")
        energy = Cost(energy_mj, energy_mj * 0.2, "estimated")
        costs = NetworkCosts(
            latency_ms=latency,
            latency_worst_ms=Cost(latency_ms * 1.2, latency_ms * 0.06, "predicted"),
            energy_mj=energy,
            energy_worst_mj=energy,
            num_params=num_params,
            macs=macs,
            size_bytes=4 * num_params,
        )
    result = None
    if not rejected:
        result = ChildResult(
            digest=digest,
            failure=failure,
            message=message,
            accuracy=None if failure else accuracy,
            accuracy_no_exit=None if failure else accuracy,
            exit_shares=exit_shares,
            exit_thresholds=exit_thresholds,
            train_seconds=1.5,
            worker="worker-1",
        )
    return Evaluation(
        sequence=sequence,
        architecture=Architecture("0" * 16, choices, digest, label or digest),
        result=result,
        costs=costs,
        reward=reward,
        charged=0.0 if rejected or not is_new else 1.0,
        is_new=is_new,
        rejected=rejected,
    )


def sample_space() -> StagedSpace:
    """Small, with early exits."""
    config = StagedSpaceConfig.model_validate(
        {
            "stages": [
                {"channels": 16, "layers": 2},
                {"channels": 24, "layers": 2, "stride": 2},
                {"channels": 32, "layers": 1, "stride": 2},
            ],
            "early_exits": True,
        }
    )
    return StagedSpace(config, input_shape=Shape(3, 32, 32), num_classes=10)


@dataclass
class SampleRun:
    """A finished run in memory, and how to write it."""

    space: StagedSpace = field(default_factory=sample_space)
    name: str = "digits-s0"
    seed: int = 0
    children: int = 48
    sessions: dict[str, list[Evaluation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, strategy in enumerate(("ppo", "random", "evolution")):
            rng = np.random.default_rng([self.seed, number])
            self.sessions[f"{strategy}-{self.seed}"] = self._session(rng, learns=number != 1)

    def _session(self, rng: np.random.Generator, *, learns: bool) -> list[Evaluation]:
        history: list[Evaluation] = []
        while sum(e.charged for e in history) < self.children:
            drawn = [self.space.sample(rng) for _ in range(3 if learns and len(history) > 9 else 1)]
            choices = min(drawn, key=lambda c: abs(_macs(self.space, c) - 4e5))
            history.append(self._evaluation(choices, history, rng))
        return history

    def _evaluation(
        self, choices: tuple[int, ...], history: Sequence[Evaluation], rng: np.random.Generator
    ) -> Evaluation:
        architecture = self.space.architecture(choices)
        network = self.space.resolve(choices)
        macs, params = count_macs(network), count_params(network)
        latency = 0.03 + macs / 4e6 + 0.004 * len(network.layers)
        accuracy = float(np.clip(0.99 - 0.25 * math.exp(-macs / 3e5) + rng.normal(0, 0.01), 0.1, 1))
        accuracy = 0.1 if rng.random() < 0.05 else round(accuracy * 360) / 360
        heads = len(network.heads)
        shares = tuple([0.3 / max(1, heads - 1)] * (heads - 1) + [0.7 if heads > 1 else 1.0])
        common = {
            "digest": architecture.digest,
            "choices": tuple(choices),
            "is_new": all(e.architecture.digest != architecture.digest for e in history),
        }
        chance = rng.random()
        if chance < 0.03:
            return make_evaluation(
                len(history), failure=FailureReason.NONFINITE, message="loss is nan", **common
            )
        if chance < 0.06:
            return make_evaluation(
                len(history), latency_ms=latency, rejected="latency_ms 3.1 > 2.0", **common
            )
        return make_evaluation(
            len(history),
            accuracy,
            latency,
            macs / 1e5,
            reward=0.6 * accuracy + 0.3 * max(0.0, 1 - latency / 2),
            exit_shares=shares,
            exit_thresholds=(0.25,) * (heads - 1),
            num_params=params,
            macs=macs,
            **common,
        )

    @property
    def main(self) -> list[Evaluation]:
        return next(iter(self.sessions.values()))

    @property
    def trials(self) -> pd.DataFrame:
        return trials_frame(self.sessions, fidelity="search")

    @property
    def picks(self) -> dict[str, Evaluation]:
        return picks(self.main).by_name()

    @property
    def networks(self) -> dict[str, Network]:
        found = {}
        for evaluation in self.picks.values():
            network = self.space.resolve(evaluation.architecture.choices)
            network = network.with_thresholds((0.25,) * len(network.exits))
            found[evaluation.architecture.digest] = network
        return found

    @property
    def held_out(self) -> list[LatencyPair]:
        rng = np.random.default_rng(7)
        measured = rng.uniform(0.08, 0.9, 40)
        predicted = measured * (1 + rng.normal(0, 0.07, 40))
        return [LatencyPair(float(p), float(m)) for p, m in zip(predicted, measured, strict=True)]

    @property
    def summary(self) -> RunSummary:
        size = self.space.size()
        return RunSummary(
            name=self.name,
            session=next(iter(self.sessions)),
            seed=self.seed,
            finished_at="2026-01-31T14:05:00+00:00",
            netlathe_version="0.1.0",
            space=SpaceSummary(
                kind=self.space.kind,
                digest=self.space.digest,
                num_decisions=len(self.space.decisions),
                sequences=size.sequences,
                distinct_low=size.distinct_low,
                distinct_high=size.distinct_high,
            ),
            device="test device, ONNX Runtime 1.20, 1 thread, batch 1",
            objective="minmax: 0.6 accuracy + 0.3 latency + 0.1 energy",
            limits="",
            picks=tuple(_pick_summary(name, e) for name, e in self.picks.items()),
            sessions=tuple(_session_summary(n, h, self.children) for n, h in self.sessions.items()),
            data=DataSummary(
                name="digits",
                digest="d" * 16,
                input_shape=(1, 8, 8),
                num_classes=10,
                train=1077,
                validation=360,
                test=360,
            ),
            profile=ProfileSummary(
                spearman=0.981,
                mape=0.062,
                within_10=0.83,
                held_out=40,
                noise_spearman=0.995,
                noise_mape=0.031,
                noise_within_10=0.96,
                energy_source="estimated",
            ),
            utilisation=0.88,
            seconds={"profile": 41.0, "search": 201.5, "finals": 55.0},
            paths={"export": "best", "report": "report.html", "trials": "trials.parquet"},
        )

    def write(self, run_dir: Path) -> Path:
        """The files that other runs are compared by."""
        run_dir.mkdir(parents=True)
        (run_dir / "run.yaml").write_text("format: 1\n")
        (run_dir / SUMMARY_FILE).write_text(self.summary.to_json(), encoding="utf-8")
        write_parquet_atomic(self.trials, run_dir / TRIALS_FILE)
        return run_dir


def _macs(space: StagedSpace, choices: tuple[int, ...]) -> int:
    return count_macs(space.resolve(choices))


def _pick_summary(name: str, evaluation: Evaluation) -> PickSummary:
    costs, accuracy = evaluation.costs, evaluation.accuracy
    assert costs is not None
    assert evaluation.result is not None
    measured = Cost(costs.latency_ms.value * 1.06, 0.004, "measured")
    worst = Cost(costs.latency_worst_ms.value * 1.05, 0.005, "measured")
    return PickSummary(
        pick=name,
        digest=evaluation.architecture.digest,
        label=evaluation.architecture.label,
        search_accuracy=accuracy,
        search_standard_error=math.sqrt(accuracy * (1 - accuracy) / 360),
        test_accuracy=min(1.0, accuracy + 0.01),
        test_standard_error=0.007,
        test_accuracy_no_exit=min(1.0, accuracy + 0.012),
        latency_predicted=costs.latency_ms,
        latency_worst_predicted=costs.latency_worst_ms,
        latency_measured=measured,
        latency_worst_measured=worst,
        energy=costs.energy_mj,
        energy_worst=costs.energy_worst_mj,
        num_params=costs.num_params,
        macs=costs.macs,
        size_bytes=costs.size_bytes,
        exit_thresholds=evaluation.result.exit_thresholds,
        exit_shares=evaluation.result.exit_shares,
        export_dir="best" if name == "best" else None,
    )


def _session_summary(name: str, history: list[Evaluation], budget: int) -> SessionSummary:
    strategy, _, seed = name.rpartition("-")
    points = [p for e in history if (p := point_of(e)) is not None]
    new = [e for e in history if e.is_new]
    return SessionSummary(
        strategy=strategy,
        seed=int(seed),
        budget=budget,
        spent=sum(e.charged for e in history),
        best_reward=max(e.reward for e in history if e.ok),
        best_accuracy=max(p.accuracy for p in points),
        hypervolume=hypervolume_2d([(p.accuracy, p.latency_ms) for p in points], (0.0, 2.0)),
        front_size=len(pareto_front(history)),
        failed=sum(not e.ok and not e.rejected for e in new),
        rejected=sum(bool(e.rejected) for e in new),
    )
