"""Temperatures, α, mixes and stages over time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from child_models.fitting import Moment
from compress import (
    AlphaConfig,
    AlphaMix,
    ConstantTemperature,
    DecayingTemperature,
    DistilConfig,
    FixedMix,
    HardExamples,
    Stage,
    SteppedTemperature,
    three_stages,
)
from compress.distillation.timetable import Timetable


def _moments(epochs: int, steps_an_epoch: int) -> list[Moment]:
    steps = epochs * steps_an_epoch
    return [Moment(step, steps, step // steps_an_epoch, epochs) for step in range(steps)]


def test_temperatures_by_hand() -> None:
    first, later = Moment(0, 1000, 0, 100), Moment(100, 1000, 10, 100)
    assert ConstantTemperature(value=3).at(later, 0) == 3
    decaying = DecayingTemperature()
    assert decaying.at(first, 0) == 5
    assert decaying.at(later, 0) == pytest.approx(1 + 4 * math.exp(-0.1))
    assert DecayingTemperature(unit="step").at(later, 0) == pytest.approx(1 + 4 * math.exp(-1))
    stepped = SteppedTemperature()
    assert [stepped.at(first, stage) for stage in range(6)] == [4, 3, 2, 1, 1, 1]


@given(
    highest=st.floats(0.1, 100),
    share=st.floats(0.01, 1),
    rate=st.floats(0, 10),
    unit=st.sampled_from(["epoch", "step"]),
)
def test_a_decaying_temperature_falls_between_its_ends(
    highest: float, share: float, rate: float, unit: str
) -> None:
    config = DecayingTemperature.model_validate(
        {"highest": highest, "lowest": highest * share, "rate": rate, "unit": unit}
    )
    values = [config.at(moment, 0) for moment in _moments(5, 7)]
    assert values[0] == pytest.approx(highest)
    assert values == sorted(values, reverse=True)
    assert min(values) >= config.lowest * (1 - 1e-12)


@given(
    shares=st.lists(st.integers(1, 100), min_size=1, max_size=6),
    more=st.integers(0, 40),
    steps_an_epoch=st.integers(1, 5),
)
def test_stages_follow_each_other_over_whole_epochs(
    shares: list[int], more: int, steps_an_epoch: int
) -> None:
    stages = tuple(Stage(share=share / sum(shares)) for share in shares)
    epochs = len(stages) + more
    table = Timetable(stages, epochs)
    places = [table.place(moment) for moment in _moments(epochs, steps_an_epoch)]
    numbers = [place.stage for place in places]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(len(stages)))
    for number in range(len(stages)):
        own = [place.progress for place in places if place.stage == number]
        assert len(own) % steps_an_epoch == 0
        assert own == sorted(own)
        assert own[0] == 0
        assert own[-1] == (1 if len(own) > 1 else 0)


def test_stages_end_where_their_shares_say() -> None:
    assert Timetable(three_stages(), 10).ends == (2, 4, 10)
    assert Timetable(three_stages(), 3).ends == (1, 2, 3)
    with pytest.raises(ValueError, match="3 stages need at least 3 epochs, got 2"):
        Timetable(three_stages(), 2)


def test_alpha_goes_from_labels_to_teacher() -> None:
    mix = AlphaMix(alpha=AlphaConfig(early=0.3, late=0.9), feature=2)
    early, middle, late = (mix.weights(progress) for progress in (0.0, 0.5, 1.0))
    assert (early["hard"], early["soft"]) == pytest.approx((0.7, 0.3))
    assert (middle["hard"], middle["soft"]) == pytest.approx((0.4, 0.6))
    assert (late["hard"], late["soft"]) == pytest.approx((0.1, 0.9))
    assert early["feature"] == late["feature"] == 2
    assert AlphaMix(alpha=AlphaConfig(early=1, late=1)).used() == ("soft",)


def test_the_four_term_mix_is_the_default() -> None:
    (stage,) = DistilConfig().stages
    assert stage.mix.weights(0.5) == {
        "hard": 0.5,
        "soft": 0.3,
        "feature": 0.15,
        "attention": 0.05,
        "rkd_distance": 0,
        "rkd_angle": 0,
    }
    assert DistilConfig().used() == ("hard", "soft", "feature", "attention")


def test_three_stages_are_features_then_structure_then_outputs() -> None:
    stages = three_stages()
    assert [stage.mix.used() for stage in stages] == [
        ("feature",),
        ("attention", "rkd_distance", "rkd_angle"),
        ("hard", "soft"),
    ]
    own = three_stages((0.1, 0.1, 0.8), FixedMix())
    assert own[2] == Stage(share=0.8, mix=FixedMix())


def test_a_config_survives_json() -> None:
    config = DistilConfig(
        stages=three_stages(),
        temperature=SteppedTemperature(),
        hard_examples=HardExamples(cap=2),
        pairs={"n0": "n1"},
        views=3,
    )
    assert TypeAdapter(DistilConfig).validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": []}, "at least 1 item"),
        ({"stages": [{"share": 0.5}]}, "shares sum to 0.5"),
        ({"stages": [{"mix": {"kind": "fixed", "hard": -1}}]}, "greater than or equal to 0"),
        (
            {
                "stages": [
                    {"mix": {"kind": "fixed", "hard": 0, "soft": 0, "feature": 0, "attention": 0}}
                ]
            },
            "every weight of this stage's mix is 0",
        ),
        ({"stages": [{"mix": {"kind": "alpha", "soft": 1}}]}, "extra_forbidden"),
        ({"stages": [{"mix": {"kind": "alpha", "alpha": {"late": 1.1}}}]}, "less than or equal"),
        ({"temperature": {"kind": "stepped"}}, "there is one stage"),
        ({"temperature": {"kind": "constant", "value": 0}}, "greater than 0"),
        ({"temperature": {"kind": "decaying", "highest": 1, "lowest": 2}}, "exchange them"),
        ({"temperature": {"kind": "cold"}}, "union_tag_invalid"),
        ({"hard_examples": {"cap": 0.5}}, "greater than or equal to 1"),
        ({"pairs": {}}, "pairs nothing"),
        ({"views": -1}, "greater than or equal to 0"),
        ({"temprature": 4}, "extra_forbidden"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DistilConfig.model_validate(settings)
