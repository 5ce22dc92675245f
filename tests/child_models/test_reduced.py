"""Less of a data set: which images stay, what shrinking does, and what children make of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archspace import (
    NasBench201Space,
    NasBench201SpaceConfig,
    Shape,
    StagedSpace,
    StagedSpaceConfig,
)
from child_models import (
    AugmentationConfig,
    Dataset,
    DigitsConfig,
    ShapesConfig,
    Split,
    TrainingConfig,
    at_resolution,
    load_data,
    reduced_dataset,
    smaller_shape,
    train_child,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    return load_data(ShapesConfig(num_train=60, num_validation=30, num_test=30))


def images_of(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def test_a_fraction_of_each_class_stays(digits: Dataset) -> None:
    half = reduced_dataset(digits, 0.5, None, seed=3)
    before, after = (np.bincount(d.train.labels, minlength=10) for d in (digits, half))
    assert (np.abs(after - before / 2) <= 0.5).all()
    assert images_of(half.train) <= images_of(digits.train)
    assert half.validation is digits.validation
    assert half.normalization == digits.normalization
    assert half.input_shape == digits.input_shape


def test_the_seed_decides_which_and_smaller_parts_lie_in_larger_ones(digits: Dataset) -> None:
    quarter, half, other = (
        images_of(reduced_dataset(digits, share, None, seed=seed).train)
        for share, seed in ((0.25, 3), (0.5, 3), (0.5, 4))
    )
    assert quarter < half
    assert half != other
    again = reduced_dataset(replace(digits), 0.5, None, seed=3)
    assert images_of(again.train) == half


def test_each_class_keeps_an_image(shapes: Dataset) -> None:
    tiny = reduced_dataset(shapes, 0.001, None, seed=0)
    assert np.bincount(tiny.train.labels, minlength=15).tolist() == [1] * 15


def test_made_once(digits: Dataset) -> None:
    assert reduced_dataset(digits, 0.5, 4, seed=0) is reduced_dataset(digits, 0.5, 4, seed=0)


def test_shrinking_is_the_mean_of_areas(digits: Dataset, shapes: Dataset) -> None:
    for dataset in (digits, shapes):
        size = dataset.input_shape.height // 2
        small = reduced_dataset(dataset, 1.0, size, seed=0)
        for split in ("train", "validation"):
            images, result = getattr(dataset, split).images, getattr(small, split).images
            n, c = images.shape[:2]
            means = images.reshape(n, c, size, 2, size, 2).mean(axis=(3, 5), dtype=np.float64)
            assert result.dtype == images.dtype
            tolerance = 0.51 if images.dtype == np.uint8 else 1e-5
            assert np.abs(result - means).max() <= tolerance
        assert small.input_shape == (dataset.input_shape.channels, size, size)
        assert small.normalization == dataset.normalization
        assert len(small.validation) == len(dataset.validation)


def test_shifts_shrink_with_the_images(shapes: Dataset) -> None:
    shifted = replace(shapes, augmentation=AugmentationConfig(shift=4, flip=True))
    small = reduced_dataset(shifted, 1.0, 16, seed=0)
    assert small.augmentation == AugmentationConfig(shift=2, flip=True)


def test_arrays_that_cannot_be_written_are_read(digits: Dataset) -> None:
    frozen = replace(digits.train, images=digits.train.images.copy())
    frozen.images.setflags(write=False)
    small = reduced_dataset(replace(digits, train=frozen), 0.5, 4, seed=0)
    assert small.train.images.shape[2:] == (4, 4)


@pytest.mark.parametrize(("fraction", "resolution"), [(0.0, None), (1.5, None), (1.0, 8), (1.0, 0)])
def test_what_is_no_reduction_is_refused(
    digits: Dataset, fraction: float, resolution: int | None
) -> None:
    with pytest.raises(ValueError, match="expected"):
        reduced_dataset(digits, fraction, resolution, seed=0)


def test_networks_of_both_spaces_read_smaller_images_and_cost_less() -> None:
    full = Shape(3, 32, 32)
    staged = StagedSpaceConfig.model_validate(
        {
            "stages": [{"channels": 16, "layers": 2}, {"channels": 24, "layers": 2, "stride": 2}],
            "early_exits": True,
        }
    )
    rng = np.random.default_rng(0)
    for space in (
        StagedSpace(staged, input_shape=full, num_classes=10),
        NasBench201Space(NasBench201SpaceConfig(), input_shape=full, num_classes=10),
    ):
        network = space.resolve(space.sample(rng))
        small = at_resolution(network, smaller_shape(full, 16))
        assert small.input_shape == (3, 16, 16)
        assert small.layers == network.layers, "the same weights"
        assert [small.shapes[head] for head in small.heads] == [(10, 1, 1)] * len(small.heads)
        assert at_resolution(network, full) is network


def test_images_that_are_too_small_for_a_network_are_refused() -> None:
    space = NasBench201Space(NasBench201SpaceConfig(), input_shape=Shape(3, 32, 32), num_classes=10)
    network = space.resolve(space.sample(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="layer"):
        at_resolution(network, Shape(3, 7, 7))


def test_a_child_learns_from_less_and_from_smaller(digits: Dataset) -> None:
    config = StagedSpaceConfig.model_validate(
        {"stem_channels": 8, "stages": [{"channels": 16, "layers": 1}]}
    )
    space = StagedSpace(config, input_shape=digits.input_shape, num_classes=10)
    network = space.resolve(space.sample(np.random.default_rng(1)))
    reduced = reduced_dataset(digits, 0.5, 4, seed=0)
    trained = train_child(
        at_resolution(network, reduced.input_shape), reduced, TrainingConfig(), epochs=4, seed=1
    )
    assert trained.exit_choice.accuracy > 0.3, "chance is 0.1"
