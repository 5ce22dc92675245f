"""What becomes of a run whose picks fail their full training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from evaluation import (
    ChildResult,
    ChildTask,
    Evaluation,
    EvaluatorUnavailable,
    FailureReason,
    Ledger,
    LimitsConfig,
    TrainedChild,
)
from latency_models import Cost
from search.config import ScheduleConfig
from search.finals import FAILED_FINALS, make_final, train_picks
from search.parts import RunParts
from search.run_errors import DamagedRun
from tests.search.run_samples import make_evaluation
from tests.search.strategy_toys import ToyEvaluator, toy_space

SPACE = toy_space(exits=False)


class FinalEvaluator(ToyEvaluator):
    """Finals of the digests in `bad` fail for `reason`."""

    def __init__(self, bad: set[str], reason: FailureReason = FailureReason.NONFINITE) -> None:
        super().__init__()
        self.bad = bad
        self.reason = reason
        self.asked: list[str] = []

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        for index, task in enumerate(tasks):
            digest = task.architecture.digest
            self.asked.append(digest)
            if digest in self.bad:
                yield index, ChildResult(digest=digest, failure=self.reason, message="on purpose")
                continue
            yield (
                index,
                TrainedChild(
                    result=ChildResult(digest=digest, accuracy=0.9, accuracy_no_exit=0.9),
                    test_accuracy=0.8,
                    test_accuracy_no_exit=0.8,
                    test_size=10,
                    weights={"w": np.ones(2, dtype=np.float32)},
                    quantisation='{"kept": true}' if index % 2 else None,
                ),
            )


def history(count: int) -> list[Evaluation]:
    """A front of `count` networks: each more accurate and slower than the one before."""
    rng = np.random.default_rng(0)
    found: dict[str, tuple[int, ...]] = {}
    while len(found) < count:
        choices = SPACE.sample(rng)
        found[SPACE.architecture(choices).digest] = choices
    return [
        make_evaluation(i, 0.5 + 0.01 * i, 1.0 + i, digest=digest, choices=choices)
        for i, (digest, choices) in enumerate(found.items())
    ]


DEVICE = SimpleNamespace(
    imported=False,
    measure=lambda nets: [SimpleNamespace(latency=Cost(1.0, 0.1, "measured")) for _ in nets],
    energy=lambda prefixes, own: tuple(Cost(1.0, 0.1, "estimated") for _ in own),
)


ELSEWHERE = [
    pytest.param(SimpleNamespace(imported=True), id="imported"),
    pytest.param(None, id="fitted to a table"),
]
"""Device files of devices that are not here."""


def parts_of(
    folder: Path,
    evaluator: FinalEvaluator,
    device: SimpleNamespace | None = DEVICE,
    limits: LimitsConfig | None = None,
) -> RunParts:
    unused = cast(Any, None)
    return RunParts(
        name="run",
        run_dir=folder,
        seed=0,
        space=SPACE,
        evaluator=evaluator,
        ledger=Ledger(f"sqlite:///{folder / 'ledger.db'}"),
        costing=unused,
        objective=unused,
        limits=limits or LimitsConfig(),
        bounds=unused,
        search=unused,
        schedule=ScheduleConfig(),
        training_seed=0,
        accuracy_floor=0.0,
        dataset=unused,
        device_file=cast(Any, device),
        mirror_dir=None,
        config_text="",
        objective_text="",
    )


def test_the_next_of_the_front_takes_the_place_of_one_that_failed(tmp_path: Path) -> None:
    seen = history(6)
    digests = [e.architecture.digest for e in seen]
    evaluator = FinalEvaluator({digests[-1]})
    chosen, trained, _ = train_picks(parts_of(tmp_path, evaluator), seen)
    assert chosen["best"].architecture.digest == digests[-2]
    assert chosen["fastest"].architecture.digest == digests[0]
    assert {e.architecture.digest for e in chosen.values()} <= trained.keys()
    assert len(evaluator.asked) == len(set(evaluator.asked))


def test_resuming_neither_trains_again_nor_changes_the_picks(tmp_path: Path) -> None:
    seen = history(6)
    bad = {seen[-1].architecture.digest, seen[0].architecture.digest}
    first, before, _ = train_picks(parts_of(tmp_path, FinalEvaluator(bad)), seen)
    again = FinalEvaluator(set())  # what failed is not tried again
    second, trained, _ = train_picks(parts_of(tmp_path, again), seen)
    assert second == first
    assert again.asked == []
    kept = {digest: child.quantisation for digest, child in before.items()}
    assert set(kept.values()) == {None, '{"kept": true}'}
    assert {digest: child.quantisation for digest, child in trained.items()} == kept
    assert not bad & trained.keys()


@pytest.mark.parametrize("name", ["*.safetensors", "*.quantisation.json"])
@pytest.mark.parametrize("how", ["flipped", "truncated"])
def test_a_file_that_changed_is_refused(tmp_path: Path, name: str, how: str) -> None:
    seen = history(6)
    train_picks(parts_of(tmp_path, FinalEvaluator(set())), seen)
    file = next((tmp_path / "finals").glob(name))
    whole = file.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    file.write_bytes(flipped if how == "flipped" else whole[:-4])
    with pytest.raises(DamagedRun, match=f"{file.name} is not as it was written: put a copy"):
        train_picks(parts_of(tmp_path, FinalEvaluator(set())), seen)
    file.write_bytes(whole)
    again = FinalEvaluator(set())
    train_picks(parts_of(tmp_path, again), seen)
    assert again.asked == []


def test_deleted_files_are_made_again(tmp_path: Path) -> None:
    """As the message of a damaged one says."""
    seen = history(6)
    _, before, _ = train_picks(parts_of(tmp_path, FinalEvaluator(set())), seen)
    weights = next((tmp_path / "finals").glob("*.safetensors"))
    for file in weights.parent.glob(f"{weights.stem}.*"):
        file.unlink()
    again = FinalEvaluator(set())
    _, after, _ = train_picks(parts_of(tmp_path, again), seen)
    assert again.asked == [weights.stem]
    assert after.keys() == before.keys()


def test_finals_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    seen = history(4)
    parts = parts_of(tmp_path, FinalEvaluator(set()))
    chosen, *_ = train_picks(parts, seen)
    for digest in {evaluation.architecture.digest for evaluation in chosen.values()}:
        name = f"final/{digest}"
        record = parts.ledger.get_record(name)
        assert record is not None
        del record["sha256"]
        parts.ledger.put_record(name, record)
    again = FinalEvaluator(set())
    assert train_picks(parts_of(tmp_path, again), seen)[0] == chosen
    assert again.asked == []


def test_where_everything_fails_there_are_no_picks_and_an_end(tmp_path: Path) -> None:
    seen = history(30)
    evaluator = FinalEvaluator({e.architecture.digest for e in seen})
    chosen, trained, _ = train_picks(parts_of(tmp_path, evaluator), seen)
    assert chosen == {}
    assert trained == {}
    assert FAILED_FINALS <= len(evaluator.asked) < FAILED_FINALS + 3


def test_a_few_networks_that_all_fail_leave_none(tmp_path: Path) -> None:
    seen = history(2)
    evaluator = FinalEvaluator({e.architecture.digest for e in seen})
    assert train_picks(parts_of(tmp_path, evaluator), seen)[0] == {}


def test_lost_workers_are_not_the_networks_fault(tmp_path: Path) -> None:
    seen = history(3)
    lost = FinalEvaluator({seen[-1].architecture.digest}, FailureReason.LOST)
    with pytest.raises(EvaluatorUnavailable, match="resume"):
        train_picks(parts_of(tmp_path, lost), seen)
    mended = FinalEvaluator(set())
    chosen, *_ = train_picks(parts_of(tmp_path, mended), seen)
    assert chosen["best"].architecture.digest == seen[-1].architecture.digest


@pytest.mark.parametrize("device", ELSEWHERE)
def test_a_device_elsewhere_measures_nothing_and_its_picks_say_so(
    tmp_path: Path, device: SimpleNamespace | None
) -> None:
    seen = history(4)
    parts = parts_of(tmp_path, FinalEvaluator(set()), device)
    chosen, trained, costs = train_picks(parts, seen)
    final = make_final(parts, "best", chosen["best"], trained, costs)
    assert chosen["best"].architecture.digest == seen[-1].architecture.digest
    assert final.measured is None
    assert final.latency_measured is None


def test_measured_picks_keep_their_measurements(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, FinalEvaluator(set()))
    chosen, trained, costs = train_picks(parts, history(4))
    final = make_final(parts, "best", chosen["best"], trained, costs)
    assert final.latency_measured == Cost(1.0, 0.1, "measured")


@pytest.mark.parametrize("device", ELSEWHERE)
def test_limits_are_checked_on_predictions_of_a_device_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: SimpleNamespace | None
) -> None:
    seen = history(4)
    limits = LimitsConfig(latency_ms=1.5)
    parts = parts_of(tmp_path, FinalEvaluator(set()), device, limits)
    chosen, *_ = train_picks(parts, seen)
    fastest = seen[0].architecture.digest
    assert {e.architecture.digest for e in chosen.values()} == {fastest}
    assert "3 networks of the front miss a limit as predicted" in caplog.text
