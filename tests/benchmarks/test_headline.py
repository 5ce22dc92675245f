"""The headline comparison: the rule, what is kept, what is timed, and the verdict."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from archspace import Network, Shape, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import (
    NpzConfig,
    ShapesConfig,
    TrainingConfig,
    count_params,
    load_data,
    train_child,
)
from evaluation import Fidelity, TrainingEvaluator, child_seed
from evaluation.child_runner import one_thread
from latency_models import Device


@pytest.fixture
def records(scripts: dict[str, ModuleType]) -> Any:
    return scripts["headline_records"]


def space(early_exits: bool = False) -> StagedSpace:
    config = StagedSpaceConfig(
        stem_stride=2,
        stages=(StageConfig(channels=24, layers=2), StageConfig(channels=48, layers=2, stride=2)),
        operations=("dwconv_k3",),
        early_exits=early_exits,
    )
    return StagedSpace(config, input_shape=Shape(3, 32, 32), num_classes=15)


def network(keep: float) -> Network:
    """All layers depthwise with skips off and this share of the channels."""
    found = space()
    wanted = {"op": "dwconv_k3", "skip": False, "keep": keep}
    return found.resolve(
        [d.choices.index(wanted[d.name.rpartition(".")[2]]) for d in found.decisions]
    )


def trained(records: Any, name: str, accuracy: float, *, seed: int = 0, **other: Any) -> Any:
    fields = {
        "digest": "0" * 16,
        "num_params": 9000,
        "macs": 250_000,
        "validation_accuracy": accuracy,
        "test_accuracy": accuracy,
        "exit_validation_accuracy": accuracy,
        "exit_test_accuracy": accuracy - 0.01,
        "exit_shares": (1.0,),
        "train_seconds": 1.0,
    }
    return records.Trained(name=name, seed=seed, **(fields | other))


def chosen(
    scripts: dict[str, ModuleType], networks: Mapping[str, tuple[float, float]]
) -> tuple[str, float, bool]:
    """Which of (accuracy in the search, ratio) was taken against "compact", its ratio, and whether it passed."""
    choice, peer = scripts["headline_choice"], scripts["mobilenet"].peers(32)[1]
    built = {name: network(keep) for name, keep in zip(networks, (1.0, 0.75, 0.5), strict=True)}
    candidates = [
        choice.Candidate(network=built[name], accuracy=accuracy)
        for name, (accuracy, _) in networks.items()
    ]
    ratios = [ratio for _, ratio in networks.values()]
    taken = choice.choose(candidates, peer, ratios, search=3)
    assert (taken.search, taken.peer) == (3, "compact")
    names = {found.digest: name for name, found in built.items()}
    return names[taken.digest], taken.ratio, taken.passed


def test_most_accurate_that_is_fast_enough_is_taken(scripts: dict[str, ModuleType]) -> None:
    networks = {"slow": (0.9, 1.24), "middle": (0.8, 1.25), "fast": (0.7, 2.0)}
    assert chosen(scripts, networks) == ("middle", 1.25, True)


def test_of_equal_accuracies_the_faster_is_taken(scripts: dict[str, ModuleType]) -> None:
    networks = {"slow": (0.9, 1.3), "middle": (0.8, 1.6), "fast": (0.9, 1.4)}
    assert chosen(scripts, networks) == ("fast", 1.4, True)


def test_where_none_is_fast_enough_the_fastest_is_taken(scripts: dict[str, ModuleType]) -> None:
    networks = {"slow": (0.9, 0.7), "middle": (0.8, 1.1), "fast": (0.7, 1.0)}
    assert chosen(scripts, networks) == ("middle", 1.1, False)


def test_peer_has_the_parameters_of_the_found_network(scripts: dict[str, ModuleType]) -> None:
    found = network(0.75)
    for peer in scripts["mobilenet"].peers(32):
        name, other = scripts["headline_choice"].equal_peer(peer, found)
        assert name == peer.name
        assert count_params(other) == pytest.approx(count_params(found), rel=0.05)
        assert (other.input_shape, other.num_classes) == (found.input_shape, found.num_classes)


def test_lines_come_back_and_hold_no_half_records(records: Any, tmp_path: Path) -> None:
    path = tmp_path / "trainings.jsonl"
    first, second = (trained(records, "found", 0.9, seed=seed) for seed in (0, 1))
    lines = records.Lines(path, records.Trained)
    lines.add([first])
    lines.add([second])
    assert records.Lines(path, records.Trained).records == [first, second]
    path.write_text(path.read_text() + '{"name": "found"}\n')
    with pytest.raises(SystemExit, match="expected records of this benchmark"):
        records.Lines(path, records.Trained)


def test_a_folder_has_one_plan(records: Any, tmp_path: Path) -> None:
    plan = records.Plan(size=32, searches=None, config={"name": "a"}, peer_training={})
    records.keep_plan(tmp_path / "plan.json", plan)
    records.keep_plan(tmp_path / "plan.json", plan)
    with pytest.raises(SystemExit, match="use another --work"):
        records.keep_plan(tmp_path / "plan.json", plan.model_copy(update={"size": 96}))


def test_trainer_trains_once_and_as_the_search_does(
    scripts: dict[str, ModuleType], records: Any, tmp_path: Path
) -> None:
    data = load_data(ShapesConfig(num_train=60, num_validation=30, num_test=45))
    fidelity = Fidelity(name="final", epochs=2, cost=0.0)
    lines = records.Lines(tmp_path / "trainings.jsonl", records.Trained)
    evaluator = TrainingEvaluator(data, TrainingConfig())
    trainer = scripts["headline_training"].Trainer(evaluator, 0, fidelity, lines)
    found = network(0.5)
    (once,) = trainer([("found", found)], 4)
    twice = trainer([("found", found), ("compact", network(0.75)), ("found", found)], 4)
    assert twice[0] is once
    assert twice[2] is once
    assert [(line.name, line.seed) for line in lines.records] == [("found", 4), ("compact", 4)]
    assert (once.digest, once.num_params) == (found.digest, count_params(found))
    seed = child_seed(0, found.digest, fidelity, 4)
    with one_thread():  # as evaluators train: the number of threads moves the last bits
        expected = train_child(found, data, TrainingConfig(), epochs=2, seed=seed)
    assert once.validation_accuracy == expected.exit_choice.accuracy_no_exit


def test_latencies_side_by_side(scripts: dict[str, ModuleType]) -> None:
    timing = scripts["headline_timing"]
    exits = space(early_exits=True)
    found = next(
        candidate
        for seed in range(100)
        if (candidate := exits.resolve(exits.sample(np.random.default_rng(seed)))).exits
    )
    large = scripts["mobilenet"].scaled_to(
        scripts["mobilenet"].peers(32)[0],
        400_000,
        input_shape=Shape(3, 32, 32),
        num_classes=15,
    )
    contests = [  # the same two, the other way round in the second
        timing.Contest(found=found, exit_shares=(1.0, 0.0), peer=large),
        timing.Contest(found=large, exit_shares=(1.0,), peer=found),
    ]
    first, second = timing.time_contests(contests, Device.here(), sessions=2, rounds=3)
    assert first.ratio > 2
    assert second.ratio < 0.5
    assert first.ratio == pytest.approx(first.peer_ms / first.found_ms)
    assert first.low <= first.ratio <= first.high
    assert 0 < first.found_exit_ms < first.found_ms  # all leave at the exit
    assert second.found_exit_ms == second.found_ms  # there is none


def test_interval_of_a_ratio(scripts: dict[str, ModuleType]) -> None:
    ratios = np.log([1.1, 1.2, 1.3])
    found = np.log([[0.02, 0.05]] * 3)
    timed = scripts["headline_timing"].compared(found, np.array([0.5, 0.5]), ratios + found[:, 1])
    middle, half = ratios.mean(), 4.303 * ratios.std(ddof=1) / math.sqrt(3)
    assert timed.found_ms == pytest.approx(0.05)
    assert timed.found_exit_ms == pytest.approx(0.035)
    assert timed.peer_ms == pytest.approx(0.05 * math.exp(middle))
    assert (timed.low, timed.ratio, timed.high) == pytest.approx(
        tuple(np.exp([middle - half, middle, middle + half])), rel=1e-3
    )


def finished(records: Any, seed: int, ratio: float, found: float, peer: float) -> Any:
    timed = records.Timed(
        found_ms=0.05,
        found_exit_ms=0.04,
        peer_ms=0.05 * ratio,
        ratio=ratio,
        low=ratio,
        high=ratio,
    )
    pair = records.Pair(
        found=trained(records, "found", found),
        peer=trained(records, "compact", peer),
        passed=True,
        timed=timed,
    )
    return records.SeedRecord(seed=seed, search=0, pairs=(pair,))


@pytest.mark.parametrize(
    ("ratios", "peer", "faster", "accurate", "words"),
    [
        ((1.2, 1.3), 0.93, True, True, "reached against all"),
        ((1.1, 1.2), 0.93, False, True, "missed against compact"),
        ((1.2, 1.3), 0.97, True, False, "missed against compact"),
    ],
)
def test_verdict(
    scripts: dict[str, ModuleType],
    records: Any,
    capsys: pytest.CaptureFixture[str],
    ratios: tuple[float, float],
    peer: float,
    faster: bool,
    accurate: bool,
    words: str,
) -> None:
    report = scripts["headline_report"]
    done = [
        finished(records, 0, ratios[0], 0.96, peer),
        finished(records, 1, ratios[1], 0.94, peer),
    ]
    ((name, pairs),) = report.pairs_by_peer(done).items()
    verdict = report.verdict(name, pairs)
    assert (verdict.is_faster, verdict.is_as_accurate) == (faster, accurate)
    # leads 0.96 - peer and 0.94 - peer: standard error 0.01, and t is 12.706 with one degree of freedom
    low, high = verdict.lead_interval
    assert (low, high) == pytest.approx((0.95 - peer - 0.12706, 0.95 - peer + 0.12706), abs=1e-5)
    report.print_report(done, 32)
    printed = capsys.readouterr().out
    assert words in printed
    assert "0.0400 ± 0.0000" in printed  # with its exits taken


def test_upscaled_shapes(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    config = ShapesConfig(num_train=30, num_validation=15, num_test=15)
    path = scripts["headline"].upscaled_shapes(tmp_path, 96, config)
    drawn, scaled = load_data(config), load_data(NpzConfig(path=path))
    assert scaled.input_shape == Shape(3, 96, 96)
    assert scaled.class_names == drawn.class_names
    for name in ("train", "validation", "test"):
        small, large = getattr(drawn, name), getattr(scaled, name)
        assert np.array_equal(small.labels, large.labels)
        # the middle of three pixels is the one that was drawn
        assert np.array_equal(small.images, large.images[:, :, 1::3, 1::3])
    before = path.stat().st_mtime_ns
    assert scripts["headline"].upscaled_shapes(tmp_path, 96, config) == path
    assert path.stat().st_mtime_ns == before


def test_peers_alone_may_be_trained_otherwise(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        scripts["headline"].main(["--work", str(tmp_path), "--peer-set", "search.budget=3"])
    assert "training.KEY=VALUE" in capsys.readouterr().err


@pytest.mark.slow
def test_whole_comparison_and_again(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [
        "data.num_train=150",
        "data.num_validation=60",
        "data.num_test=60",
        "schedule.search_epochs=1",
        "schedule.final_epochs=1",
        "search.budget=3",
        "search.strategy={name: random}",
        "evaluator={kind: local}",
        "profile={budget_s: 3, num_networks: 16, num_held_out: 8}",
        "objective.accuracy_floor=0.0",
    ]
    arguments = ["--work", str(tmp_path), "--size", "32", "--seeds", "1"]
    arguments += ["--peer-set", "training.learning_rate=0.01"]
    arguments += [part for override in overrides for part in ("--set", override)]
    main = scripts["headline"].main
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "aim (≥ 1.2× faster at no lower accuracy)" in first
    kept = (tmp_path / "seeds.jsonl").read_bytes()
    assert main(arguments) == 0  # nothing left to do: the same table
    assert capsys.readouterr().out == first
    assert (tmp_path / "seeds.jsonl").read_bytes() == kept
