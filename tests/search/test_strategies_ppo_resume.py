"""A stopped PPO search goes on bit for bit."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from envs import CostBounds
from evaluation import Evaluation, ReplayDivergence
from search.strategies import PlainPPOConfig, PPOConfig, make_strategy
from tests.search.strategy_toys import Killed, ToyEvaluator, toy_bounds, toy_session, toy_space

Config = PlainPPOConfig | PPOConfig
CONFIGS: tuple[Config, ...] = (
    PlainPPOConfig(num_envs=4, epochs=2, entropy=0.2),
    # the policy alone from 4 children on, with a surrogate from 8 on
    PPOConfig(batch_size=4, initial=4, imagined_envs=8, imagined_steps=64, epochs=1, minibatch=32),
    # an ensemble from 9 on
    PPOConfig(
        batch_size=4,
        initial=4,
        imagined_envs=8,
        imagined_steps=64,
        epochs=1,
        minibatch=32,
        most_for_one_process=8,
        least_correlation=-1,
    ),
)
BUDGET = 14


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.name)
def config(request: pytest.FixtureRequest) -> Config:
    found: Config = request.param
    return found


@pytest.fixture(scope="module")
def bounds() -> CostBounds:
    return toy_bounds(toy_space())


def table(history: list[Evaluation]) -> list[tuple[object, ...]]:
    return [(e.sequence, e.architecture.choices, e.reward, e.charged) for e in history]


def run(
    config: Config,
    bounds: CostBounds,
    folder: Path,
    *,
    die_after: int | None = None,
    seed: int = 3,
    checkpoints: bool = True,
) -> list[tuple[object, ...]]:
    """Go on in `folder` until the end, or until `die_after` more children."""
    folder.mkdir(exist_ok=True)
    evaluator = ToyEvaluator(die_after=die_after)
    session = toy_session(
        folder / "ledger.db",
        bounds,
        budget=BUDGET,
        evaluator=evaluator,
        latency_weight=0.3,
        wrong_costs=True,  # so that there is something to correct, which must survive, too
    )
    strategy = make_strategy(
        config,
        space=bounds.space,
        bounds=bounds,
        seed=seed,
        checkpoint_dir=folder / "checkpoints" if checkpoints else None,
    )
    if die_after is None:
        strategy.run(session)
    else:
        with pytest.raises(Killed):
            strategy.run(session)
    return table(session.history)


@pytest.fixture(scope="module")
def whole(
    config: Config, bounds: CostBounds, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[object, ...]]:
    return run(config, bounds, tmp_path_factory.mktemp("whole"))


def saved(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("at-*"))


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(death, marks=[] if death in (0, 4, 6, 12) else pytest.mark.slow)
        for death in range(BUDGET)  # rollouts begin at 0, 4, 8, … children
    ],
)
def test_killed_anywhere(
    config: Config, bounds: CostBounds, whole: list[tuple[object, ...]], tmp_path: Path, death: int
) -> None:
    run(config, bounds, tmp_path, die_after=death)
    torch.manual_seed(death)  # another process has other random numbers
    assert run(config, bounds, tmp_path) == whole


@pytest.mark.slow
def test_killed_again_and_again(
    config: Config, bounds: CostBounds, whole: list[tuple[object, ...]], tmp_path: Path
) -> None:
    for _ in range(BUDGET - 1):
        run(config, bounds, tmp_path, die_after=1)
    assert run(config, bounds, tmp_path) == whole


def test_goes_on_from_the_checkpoint_not_from_the_start(
    config: Config, bounds: CostBounds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    assert len(saved(tmp_path)) == 3
    latest = int(saved(tmp_path)[-1].name.removeprefix("at-"))
    with caplog.at_level(logging.INFO, "search.strategies"):
        run(config, bounds, tmp_path)
    assert f"goes on from proposal {latest}" in caplog.text
    assert latest >= 8


def test_without_checkpoints_the_log_is_replayed(
    config: Config, bounds: CostBounds, whole: list[tuple[object, ...]], tmp_path: Path
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    shutil.rmtree(tmp_path / "checkpoints")
    assert run(config, bounds, tmp_path) == whole
    assert run(config, bounds, tmp_path, checkpoints=False) == whole


@pytest.mark.parametrize(
    ("file", "damaged"),
    [
        ("arrays.safetensors", 1),
        ("manifest.json", 3),
        pytest.param("state.json", 2, marks=pytest.mark.slow),
    ],
)
def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    config: Config,
    bounds: CostBounds,
    whole: list[tuple[object, ...]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damaged: int,
    file: str,
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    for path in saved(tmp_path)[-damaged:]:
        data = (path / file).read_bytes()
        (path / file).write_bytes(data[: len(data) // 2])
    assert run(config, bounds, tmp_path) == whole
    assert caplog.text.count("is not used") == damaged
    assert "damaged" in caplog.text


def test_a_changed_byte_is_noticed(
    config: Config,
    bounds: CostBounds,
    whole: list[tuple[object, ...]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    path = saved(tmp_path)[-1] / "arrays.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert run(config, bounds, tmp_path) == whole
    assert "SHA-256 differs" in caplog.text


def test_a_kill_while_saving_leaves_the_older_ones(
    config: Config, bounds: CostBounds, whole: list[tuple[object, ...]], tmp_path: Path
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    latest = saved(tmp_path)[-1]
    (latest / "manifest.json").unlink()
    latest.rename(latest.with_name(f".{latest.name}.tmp"))  # as a kill before the rename leaves it
    assert run(config, bounds, tmp_path) == whole


def test_checkpoints_of_another_search_are_not_used(
    config: Config, bounds: CostBounds, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    with pytest.raises(ReplayDivergence):
        run(config, bounds, tmp_path, seed=4)
    assert "another config, space or seed" in caplog.text


def test_checkpoints_ahead_of_the_log_are_not_used(
    config: Config,
    bounds: CostBounds,
    whole: list[tuple[object, ...]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(config, bounds, tmp_path, die_after=9)
    for path in tmp_path.glob("ledger*"):  # its mark, too, as somebody does who means it
        path.unlink()
    assert run(config, bounds, tmp_path) == whole
    assert "ahead of the log" in caplog.text


def test_a_checkpoint_holds_no_pickle(config: Config, bounds: CostBounds, tmp_path: Path) -> None:
    run(config, bounds, tmp_path, die_after=6)
    for path in saved(tmp_path):
        assert {file.name for file in path.iterdir()} == {
            "arrays.safetensors",
            "state.json",
            "manifest.json",
        }
        header_size = int.from_bytes((path / "arrays.safetensors").read_bytes()[:8], "little")
        header = json.loads((path / "arrays.safetensors").read_bytes()[8 : 8 + header_size])
        assert any(name.startswith("policy/") for name in header)
        json.loads((path / "state.json").read_bytes())


def test_a_folder_that_cannot_be_written_does_not_stop_the_search(
    config: Config,
    bounds: CostBounds,
    whole: list[tuple[object, ...]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    assert run(config, bounds, tmp_path) == whole
    assert "no checkpoint at proposal 0" in caplog.text
