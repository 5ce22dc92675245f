"""What the choices of a staged space build, and what the masks allow."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from archspace import InvalidChoices, Network, Shape, SpaceError, StagedSpace, StagedSpaceConfig

IMAGE = Shape(3, 16, 16)
KEEP = (0.25, 0.5, 0.75, 1.0)


def make_space(image: Shape = IMAGE, **config: object) -> StagedSpace:
    settings = {"stages": [{"channels": 32, "layers": 1}], "early_exits": False, **config}
    return StagedSpace(
        StagedSpaceConfig.model_validate(settings), input_shape=image, num_classes=10
    )


def build(space: StagedSpace, *values: object) -> Network:
    pairs = zip(space.decisions, values, strict=True)
    return space.resolve([d.choices.index(v) for d, v in pairs])


def rows(network: Network, block: str) -> list[tuple[object, ...]]:
    return [
        (x.op, x.in_channels, x.out_channels, x.kernel, x.stride, x.groups, x.norm, x.activation)
        for x in network.layers
        if x.block == block
    ]


def test_decisions_come_layer_by_layer_and_the_exit_after_its_stage() -> None:
    stages = [{"channels": 16, "layers": 2}, {"channels": 32, "layers": 1, "stride": 2}]
    space = make_space(stages=stages, early_exits=True)
    assert [d.name for d in space.decisions] == [
        "stage1.layer0.op",
        "stage1.layer0.skip",
        "stage1.layer0.keep",
        "stage1.layer1.op",
        "stage1.layer1.skip",
        "stage1.layer1.keep",
        "stage1.exit",
        "stage2.layer0.op",
        "stage2.layer0.skip",
        "stage2.layer0.keep",
    ]
    assert space.decisions[2].choices == KEEP


def test_depthwise_layer_without_skip() -> None:
    network = build(make_space(), "dwconv_k5", False, 0.5)
    assert rows(network, "stem") == [("conv", 3, 16, 3, 1, 1, True, "relu")]
    assert rows(network, "stage1.block0") == [
        ("conv", 16, 16, 5, 1, 16, True, "relu"),
        ("conv", 16, 16, 1, 1, 1, True, "relu"),
    ]
    assert [x.op for x in network.layers if x.block == "head"] == ["global_avg_pool", "linear"]
    assert network.shapes[network.output] == Shape(10, 1, 1)
    assert [x.name for x in network.layers] == [f"n{i}" for i in range(5)]


def test_skip_with_equal_shapes_adds_the_input_and_activates_after_the_sum() -> None:
    network = build(make_space(), "dwconv_k3", True, 0.5)
    assert rows(network, "stage1.block0") == [
        ("conv", 16, 16, 3, 1, 16, True, "relu"),
        ("conv", 16, 16, 1, 1, 1, True, "none"),
        ("add", 16, 16, 1, 1, 1, False, "relu"),
    ]
    assert network.layers[3].inputs == ("n2", "n0")


def test_skip_with_a_new_shape_is_a_projection() -> None:
    space = make_space(stages=[{"channels": 32, "layers": 1, "stride": 2}])
    network = build(space, "group_conv_k3", True, 1.0)
    assert rows(network, "stage1.block0") == [
        ("conv", 16, 16, 3, 2, 2, True, "relu"),
        ("conv", 16, 32, 1, 1, 1, True, "none"),
        ("conv", 16, 32, 1, 2, 1, True, "none"),
        ("add", 32, 32, 1, 1, 1, False, "relu"),
    ]
    assert network.shapes["n4"] == Shape(32, 8, 8)


def test_inverted_residual_has_a_linear_bottleneck() -> None:
    space = make_space(operations=["mbconv_k3_e3", "mbconv_k5_e1"])
    assert rows(build(space, "mbconv_k3_e3", True, 0.5), "stage1.block0") == [
        ("conv", 16, 48, 1, 1, 1, True, "relu"),
        ("conv", 48, 48, 3, 1, 48, True, "relu"),
        ("conv", 48, 16, 1, 1, 1, True, "none"),
        ("add", 16, 16, 1, 1, 1, False, "none"),
    ]
    assert rows(build(space, "mbconv_k5_e1", False, 1.0), "stage1.block0") == [
        ("conv", 16, 16, 5, 1, 16, True, "relu"),
        ("conv", 16, 32, 1, 1, 1, True, "none"),
    ]


def test_plain_convolution_carries_stride_and_kernel() -> None:
    space = make_space(operations=["conv_k5"], stages=[{"channels": 24, "layers": 1, "stride": 2}])
    network = build(space, "conv_k5", False, 1.0)
    assert rows(network, "stage1.block0") == [("conv", 16, 24, 5, 2, 1, True, "relu")]


def test_identity_and_matching_zero_vanish_and_a_changing_zero_projects() -> None:
    space = make_space(channel_multiple=16)
    gone = build(space, "identity", False, 1.0)
    assert [x.block for x in gone.layers] == ["stem", "head", "head"]
    assert build(space, "zero", True, 0.5).digest == gone.digest
    projection = build(space, "zero", True, 1.0)
    assert rows(projection, "stage1.block0") == [("conv", 16, 32, 1, 1, 1, True, "none")]


def test_irrelevant_decisions_have_one_valid_choice() -> None:
    space = make_space()
    identity, zero = (space.decisions[0].choices.index(name) for name in ("identity", "zero"))
    assert space.mask([identity]).tolist() == [True, False]
    assert space.mask([identity, 0]).tolist() == [False, False, False, True]
    assert space.mask([zero]).tolist() == [False, True]
    assert space.mask([zero, 1]).all()


def test_identity_is_masked_where_the_stride_is_2_and_zero_without_skips() -> None:
    stages = [{"channels": 32, "layers": 2, "stride": 2}]
    space = make_space(stages=stages, skip_connections=False)
    assert space.mask([]).tolist() == [True, True, True, False, False]
    assert space.mask([0, 0]).tolist() == [True, True, True, True, False]


def test_an_early_exit_reads_its_stage() -> None:
    stages = [{"channels": 16, "layers": 1}, {"channels": 32, "layers": 1, "stride": 2}]
    space = make_space(stages=stages, early_exits=True)
    network = build(space, "dwconv_k3", False, 0.5, True, "dwconv_k3", False, 1.0)
    assert [(e.name, e.layer, e.threshold) for e in network.exits] == [("exit1", "n4", None)]
    assert network.heads == ("n4", "n8")
    assert network.layers[3].inputs == ("n2",)
    assert network.layers[5].inputs == ("n2",)
    assert network.shapes["n4"] == Shape(10, 1, 1)
    assert network.layers[5].block == "stage2.block0"


def test_two_exits_on_one_map_are_masked_and_one_on_the_last_map_is_the_head() -> None:
    space = make_space(
        stages=[{"channels": 16, "layers": 1}] * 3, early_exits=True, skip_connections=False
    )
    identity = (3, 3)
    assert space.mask([*identity, 1, *identity]).tolist() == [True, False]
    assert space.mask([*identity, 0, *identity]).tolist() == [True, True]
    assert space.mask([*identity, 1, 0, 0]).tolist() == [True, True]
    plain = space.resolve([*identity, 0, *identity, 0, *identity])
    assert space.resolve([*identity, 1, *identity, 0, *identity]) == plain
    assert plain.exits == ()


def test_block_labels_count_what_survives() -> None:
    stages = [{"channels": 16, "layers": 3}, {"channels": 32, "layers": 2, "stride": 2}]
    space = make_space(stages=stages, skip_connections=False)
    layer, nothing = (0, 3), (3, 3)
    first = space.resolve([*layer, *nothing, *layer, *layer, *nothing])
    second = space.resolve([*nothing, *layer, *layer, *layer, *nothing])
    assert [b.name for b in first.blocks] == [
        "stem",
        "stage1.block0",
        "stage1.block1",
        "stage2.block0",
        "head",
    ]
    assert first == second
    assert first.digest == second.digest


@pytest.mark.parametrize(
    ("channels", "multiple", "expected"),
    [
        (64, 8, (16, 32, 48, 64)),
        (16, 8, (8, 8, 16, 16)),
        (20, 8, (8, 8, 16, 24)),
        (4, 8, (8,) * 4),
    ],
)
def test_physical_channels(channels: int, multiple: int, expected: tuple[int, ...]) -> None:
    stages = [{"channels": channels, "layers": 1}]
    config = StagedSpaceConfig.model_validate({"stages": stages, "channel_multiple": multiple})
    assert config.physical_channels(config.stages[0]) == expected


def test_groups_divide_odd_channel_counts() -> None:
    space = make_space(stem_channels=20, channel_multiple=4, stages=[{"channels": 36, "layers": 1}])
    network = build(space, "group_conv_k3", False, 1.0)
    assert network.layers[1].groups == 5  # gcd(20, 8) = 4 channels a group
    assert network.shapes[network.output] == Shape(10, 1, 1)


def test_invalid_choices_name_the_decision() -> None:
    space = make_space(stages=[{"channels": 32, "layers": 1, "stride": 2}])
    with pytest.raises(InvalidChoices, match=r"stage1\.layer0\.op: choice 3"):
        space.mask([3])
    with pytest.raises(InvalidChoices, match="expected 3 choices"):
        space.resolve([0, 0])
    with pytest.raises(InvalidChoices, match="at most 3"):
        space.resolve([0, 0, 0, 0])
    with pytest.raises(InvalidChoices, match="all 3 decisions"):
        space.mask([0, 0, 0])
    with pytest.raises(InvalidChoices, match=r"stage1\.layer0\.keep"):
        space.architecture([0, 0, -1])


def test_a_map_of_one_pixel_is_not_halved() -> None:
    stages = [{"channels": 8, "layers": 1, "stride": 2}] * 4
    assert make_space(Shape(1, 9, 9), stages=stages).decisions  # 9 → 5 → 3 → 2 → 1
    with pytest.raises(SpaceError, match=r"stage 4 has stride 2, but only 1×1 pixels of the 8×8"):
        make_space(Shape(1, 8, 8), stages=stages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": ["dwconv_3"]}, "did you mean 'dwconv_k3'"),
        ({"operations": ["mbconv_k3_e9"]}, "unknown operation"),
        ({"operations": ["identity", "zero"], "skip_connections": False}, "cannot change"),
        ({"operations": ["identity"]}, "cannot change"),
        ({"operations": ["conv_k3", "conv_k3"]}, "repeats"),
        ({"keep_ratios": [1.0, 0.5]}, "must grow"),
        ({"keep_ratios": [0.0, 0.5]}, "greater than 0"),
        ({"keep_ratio": [0.5]}, "Extra inputs"),
        ({"stages": []}, "at least 1 item"),
        ({"stages": [{"channels": 8, "layers": 1, "stride": 3}]}, "1 or 2"),
    ],
)
def test_bad_configs_are_refused(change: dict[str, object], message: str) -> None:
    settings = {"stages": [{"channels": 8, "layers": 1}], **change}
    with pytest.raises(ValidationError, match=message):
        StagedSpaceConfig.model_validate(settings)


def test_masks_are_the_callers_own_copy() -> None:
    space = make_space()
    space.mask([])[:] = False
    assert space.mask([]).all()


def test_a_space_survives_pickling_with_costs_kept() -> None:
    space = make_space()
    cheapest = space.minimum_cost((), lambda block: float(len(block.layers)))
    again = pickle.loads(pickle.dumps(space))
    choices = space.sample(np.random.default_rng(0))
    assert again.digest == space.digest
    assert again.architecture(choices) == space.architecture(choices)
    assert again.minimum_cost((), lambda block: float(len(block.layers))) == cheapest == 3.0
