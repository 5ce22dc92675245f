"""The small parts that strategies are made of, by closed-form numbers."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from archspace import Decision
from envs import DEFAULT_WEIGHTS
from evaluation import (
    InverseConfig,
    LimitsConfig,
    MinMaxConfig,
    MnasNetConfig,
    ObjectiveBounds,
    SpaceExhausted,
    WeightSchedule,
    make_objective,
)
from search.strategies import KeepScheduleConfig, PlainPPOConfig, StrategyConfig, make_strategy
from search.strategies._novelty import PATIENCE, TRIES, Novelty
from search.strategies.checkpoint_store import (
    FORMAT_VERSION,
    KEPT,
    Checkpoint,
    CheckpointStore,
)
from search.strategies.keep_schedule import KeepSchedule
from search.strategies.preference import preference_weights
from search.strategies.process_state import ProcessState, SeparateState
from search.strategies.reward_scaling import CLIP, RewardScaler
from tests.search.strategy_toys import tiny_space, toy_bounds, toy_space

BOUNDS = ObjectiveBounds(
    latency_min_ms=1.0, latency_max_ms=2.0, energy_min_mj=1.0, energy_max_mj=2.0
)


class TestKeepSchedule:
    RATIOS = (0.25, 0.5, 0.75, 1.0)
    DECISIONS = (Decision("stage1.layer0.op", ("a", "b")), Decision("stage1.layer0.keep", RATIOS))
    CONFIG = KeepScheduleConfig(start=0.8, end=0.3, steps=6, until=0.5)

    @pytest.fixture
    def schedule(self) -> KeepSchedule:
        return KeepSchedule(self.CONFIG, self.DECISIONS)

    @pytest.mark.parametrize(
        ("progress", "threshold"),
        [(0.0, 0.8), (0.08, 0.8), (0.09, 0.7), (0.2, 0.6), (0.42, 0.3), (0.5, 0.3), (1.0, 0.3)],
    )
    def test_goes_down_in_equal_steps(
        self, schedule: KeepSchedule, progress: float, threshold: float
    ) -> None:
        assert schedule.threshold(progress) == pytest.approx(threshold)

    @pytest.mark.parametrize(
        ("progress", "expected"),
        [(0.0, [0, 0, 0, 1]), (0.2, [0, 0, 1, 1]), (0.3, [0, 1, 1, 1]), (1.0, [0, 1, 1, 1])],
    )
    def test_masks_small_ratios(
        self, schedule: KeepSchedule, progress: float, expected: list[int]
    ) -> None:
        allowed = schedule.allowed(1, np.ones(4, dtype=np.bool_), progress)
        assert allowed.astype(int).tolist() == expected

    def test_leaves_other_decisions_alone(self, schedule: KeepSchedule) -> None:
        assert schedule.allowed(0, np.array([True, True]), 0.0).all()

    @given(
        valid=st.lists(st.booleans(), min_size=4, max_size=4).filter(any), progress=st.floats(0, 1)
    )
    def test_always_leaves_a_valid_choice(self, valid: list[bool], progress: float) -> None:
        mask = np.array(valid)
        allowed = KeepSchedule(self.CONFIG, self.DECISIONS).allowed(1, mask, progress)
        assert allowed.any()
        assert not (allowed & ~mask).any()
        assert mask.tolist() == valid, "the mask handed in must not change"

    def test_the_largest_valid_ratio_stays_if_all_are_too_small(
        self, schedule: KeepSchedule
    ) -> None:
        allowed = schedule.allowed(1, np.array([True, True, False, False]), 0.0)
        assert allowed.tolist() == [False, True, False, False]

    def test_must_go_down(self) -> None:
        with pytest.raises(ValidationError, match="must go down"):
            KeepScheduleConfig(start=0.3, end=0.8)


class TestRewardScaler:
    def test_ranks_become_normal_scores(self) -> None:
        scaler = RewardScaler("rank", [0.1, 0.2, 0.3])
        (score,) = scaler.scale([0.4])  # the best of four: mid-rank (3 + 4) / 2 / 4
        assert score == pytest.approx(NormalDist().inv_cdf(0.875))
        assert scaler.seen == (0.1, 0.2, 0.3, 0.4)

    def test_ties_share_their_rank(self) -> None:
        np.testing.assert_allclose(RewardScaler("rank").scale([5.0, 5.0, 5.0]), 0.0, atol=1e-12)

    def test_zscores(self) -> None:
        scores = RewardScaler("zscore").scale([1.0, 2.0, 3.0])
        np.testing.assert_allclose(scores, np.array([-1, 0, 1]) * np.sqrt(1.5), rtol=1e-6)

    def test_repeats_are_scored_but_not_counted_again(self) -> None:
        scaler = RewardScaler("rank", [1.0, 2.0])
        scaler.scale([2.0, 3.0], is_new=[False, True])
        assert scaler.seen == (1.0, 2.0, 3.0)

    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
    def test_scores_are_bounded_and_keep_the_order(self, rewards: list[float]) -> None:
        for rule in ("rank", "zscore"):
            scores: NDArray[np.float64] = RewardScaler(rule).scale(rewards)
            assert (np.abs(scores) <= CLIP).all()
            order = np.argsort(rewards, kind="stable")
            assert (np.diff(scores[order]) >= -1e-12).all()


class TestPreferenceWeights:
    def test_minmax_follows_its_schedule(self) -> None:
        beta = WeightSchedule(start=0.1, step=0.1, every=10, end=0.3)
        config = MinMaxConfig(accuracy_weight=0.6, latency_weight=beta, energy_weight=0.0)
        objective = make_objective(config, BOUNDS)
        assert preference_weights(objective, 0) == pytest.approx((6 / 7, 1 / 7, 0))
        assert preference_weights(objective, 25) == pytest.approx((2 / 3, 1 / 3, 0))

    def test_inverse(self) -> None:
        config = InverseConfig(
            accuracy_floor=0.5, accuracy_weight=2.0, latency_weight=1.0, energy_weight=1.0
        )
        assert preference_weights(make_objective(config, BOUNDS), 0) == (0.5, 0.25, 0.25)

    def test_mnasnet_weighs_latency_by_its_exponent(self) -> None:
        soft = make_objective(MnasNetConfig(target_latency_ms=1.0), None)
        assert preference_weights(soft, 0) == pytest.approx((1 / 1.07, 0.07 / 1.07, 0))
        hard = make_objective(MnasNetConfig(target_latency_ms=1.0, mode="hard"), None)
        assert preference_weights(hard, 0) == (0.5, 0.5, 0.0)

    def test_unknown_objectives_get_the_default(self) -> None:
        assert preference_weights(None, 0) == DEFAULT_WEIGHTS


class TestNovelty:
    def test_other_sources_are_asked_when_one_has_nothing_new(self) -> None:
        space = toy_space()
        novelty = Novelty(space)
        first, second = (
            space.sample(np.random.default_rng(0)),
            space.sample(np.random.default_rng(1)),
        )
        novelty.add(first)
        asked: list[str] = []

        def stale() -> tuple[int, ...]:
            asked.append("stale")
            return first

        assert novelty.take_up_to(1, stale, lambda: second) == [second]
        assert len(asked) == TRIES
        with pytest.raises(SpaceExhausted, match=str(PATIENCE)):
            novelty.take_up_to(1, lambda: second)

    def test_gives_what_is_left(self) -> None:
        space = tiny_space()
        rng = np.random.default_rng(0)
        novelty = Novelty(space)
        found = novelty.take_up_to(10**6, lambda: space.sample(rng))
        assert len(found) == space.size().distinct_high
        assert len({novelty.digest(choices) for choices in found}) == len(found)


class TestCheckpointStore:
    @staticmethod
    def checkpoint(sequence: int) -> Checkpoint:
        return Checkpoint(
            sequence=sequence, arrays={"a": np.arange(3.0)}, state={"b": [1, "two", None]}
        )

    def test_gives_back_what_was_saved_latest_first(self, tmp_path: Path) -> None:
        store = CheckpointStore(tmp_path / "new", "f")
        for sequence in (0, 4, 8, 12):
            store.save(self.checkpoint(sequence))
        loaded = list(store.usable())
        assert [c.sequence for c in loaded] == [12, 8, 4]
        assert len(loaded) == KEPT
        np.testing.assert_array_equal(loaded[0].arrays["a"], np.arange(3.0))
        assert loaded[0].state == {"b": [1, "two", None]}

    def test_saving_the_same_place_again_replaces_it(self, tmp_path: Path) -> None:
        store = CheckpointStore(tmp_path, "f")
        store.save(self.checkpoint(4))
        store.save(Checkpoint(sequence=4, arrays={}, state={"c": 1}))
        (loaded,) = store.usable()
        assert loaded.state == {"c": 1}

    def test_an_unwritable_folder_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OSError):
            CheckpointStore(tmp_path / "file", "f").save(self.checkpoint(0))

    def test_unknown_formats_are_not_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = CheckpointStore(tmp_path, "f")
        path = store.save(self.checkpoint(4))
        manifest = path / "manifest.json"
        newer = FORMAT_VERSION + 1
        manifest.write_text(
            manifest.read_text().replace(f'"format": {FORMAT_VERSION}', f'"format": {newer}')
        )
        assert list(store.usable()) == []
        assert f"expected format {FORMAT_VERSION}, got {newer}" in caplog.text
        manifest.write_text("[1]")
        assert list(store.usable()) == []
        manifest.unlink()
        assert list(store.usable()) == []
        assert list(CheckpointStore(tmp_path / "nowhere", "f").usable()) == []

    def test_leftovers_of_a_kill_are_cleaned_up(self, tmp_path: Path) -> None:
        store = CheckpointStore(tmp_path, "f")
        (tmp_path / ".at-00000004.tmp").mkdir()
        (tmp_path / ".at-00000004.tmp" / "half").write_text("x")
        store.save(self.checkpoint(4))
        assert [path.name for path in tmp_path.iterdir()] == ["at-00000004"]


class TestSeparateState:
    def test_inside_and_outside_do_not_disturb_each_other(self) -> None:
        def draw() -> float:
            return float(np.random.rand()) + torch.rand(1).item()

        before = ProcessState.capture()
        try:
            np.random.seed(1)
            torch.manual_seed(1)
            outside = [draw() for _ in range(3)]
            np.random.seed(2)
            torch.manual_seed(2)
            inside = [draw() for _ in range(2)]

            np.random.seed(1)
            torch.manual_seed(1)
            drawn_outside, drawn_inside = [draw()], []
            state = SeparateState()
            with state.inside():
                np.random.seed(2)
                torch.manual_seed(2)
                drawn_inside.append(draw())
                with state.outside():
                    drawn_outside.append(draw())
                drawn_inside.append(draw())
            drawn_outside.append(draw())
            assert (drawn_inside, drawn_outside) == (inside, outside)
        finally:
            before.restore()

    def test_threads_come_back(self) -> None:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(2)
            state = SeparateState()
            with state.inside():
                assert torch.get_num_threads() == 1
                with state.outside():
                    assert torch.get_num_threads() == 2
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)


class TestConfigs:
    @pytest.mark.parametrize("name", ["ppo", "random", "evolution", "local", "tpe", "nsga2"])
    def test_each_strategy_is_made_from_its_name(self, name: str) -> None:
        config = TypeAdapter(StrategyConfig).validate_python({"name": name})
        space = toy_space()
        strategy = make_strategy(config, space=space, bounds=toy_bounds(space), seed=1)
        assert strategy.name == config.name == name

    def test_misspelt_keys_and_names_are_refused(self) -> None:
        adapter: TypeAdapter[StrategyConfig] = TypeAdapter(StrategyConfig)
        with pytest.raises(ValidationError, match="ppo"):
            adapter.validate_python({"name": "pop"})
        with pytest.raises(ValidationError, match="learning_rat"):
            adapter.validate_python({"name": "ppo", "learning_rat": 1e-3})

    def test_bounds_of_another_space_are_refused(self) -> None:
        with pytest.raises(ValueError, match="another space"):
            make_strategy(
                PlainPPOConfig(), space=toy_space(), bounds=toy_bounds(tiny_space()), seed=0
            )

    def test_limits_config_is_part_of_the_bounds(self) -> None:
        assert toy_bounds(tiny_space(), macs=10.0).limits == LimitsConfig(macs=10.0)
