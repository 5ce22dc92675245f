"""What every data set gives: checks, digests, normalisation, splits, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from child_models import (
    AugmentationConfig,
    DataConfig,
    DataError,
    Dataset,
    DigitsConfig,
    ShapesConfig,
    Split,
    load_data,
)
from child_models.augmentation import Augmenter
from child_models.datasets.base import make_dataset
from child_models.datasets.shapes import CLASS_NAMES
from child_models.datasets.split import stratified_parts

SMALL_SHAPES = ShapesConfig(num_train=60, num_validation=30, num_test=30)


def _split(images: np.ndarray, labels: list[int]) -> Split:
    return Split(images=images, labels=np.array(labels, dtype=np.int64))


def _make(images: np.ndarray, labels: list[int], *, test: Split | None = None) -> Dataset:
    split = _split(images, labels)
    splits = {"train": split, "validation": split, "test": test or split}
    return make_dataset("data", splits, ("a", "b"), AugmentationConfig())


def test_digits_are_the_whole_set_cut_by_class() -> None:
    data = load_data(DigitsConfig())
    sizes = [len(data.train), len(data.validation), len(data.test)]
    assert sum(sizes) == 1797
    assert sizes == pytest.approx([1078, 359, 359], abs=5)
    assert data.input_shape == (1, 8, 8)
    assert data.class_names == tuple("0123456789")
    for split in (data.train, data.validation, data.test):
        assert split.images.max() == 255
        shares = np.bincount(split.labels, minlength=10) / len(split)
        assert np.abs(shares - 0.1).max() < 0.01
    # no image is in two splits
    rows = [{image.tobytes() for image in s.images} for s in (data.train, data.validation)]
    assert not rows[0] & rows[1]


def test_digits_depend_on_the_split_seed_only() -> None:
    assert load_data(DigitsConfig()).digest == load_data(DigitsConfig()).digest
    assert load_data(DigitsConfig()).digest != load_data(DigitsConfig(split_seed=1)).digest


def test_shapes_are_balanced_and_reproducible() -> None:
    data = load_data(SMALL_SHAPES)
    assert data.input_shape == (3, 32, 32)
    assert data.class_names == CLASS_NAMES
    assert len(CLASS_NAMES) == 15
    assert np.bincount(data.train.labels).tolist() == [4] * 15
    assert data.digest == load_data(SMALL_SHAPES).digest
    assert data.digest != load_data(SMALL_SHAPES.model_copy(update={"seed": 1})).digest


def test_shapes_of_a_split_do_not_depend_on_the_others() -> None:
    more = load_data(SMALL_SHAPES.model_copy(update={"num_train": 90}))
    assert np.array_equal(more.test.images, load_data(SMALL_SHAPES).test.images)
    assert not np.array_equal(more.test.images, more.validation.images)


def test_normalising_gives_mean_0_and_deviation_1_a_channel() -> None:
    data = load_data(SMALL_SHAPES)
    images = data.normalise(data.train.images)
    assert images.dtype == np.float32
    assert images.mean(axis=(0, 2, 3)) == pytest.approx([0] * 3, abs=1e-4)
    assert images.std(axis=(0, 2, 3)) == pytest.approx([1] * 3, abs=1e-4)
    by_hand = (data.train.images[0, 1, 5, 7] / 255 - data.normalization.mean[1]) / (
        data.normalization.std[1]
    )
    assert images[0, 1, 5, 7] == pytest.approx(by_hand, abs=1e-5)


def test_float_images_are_normalised_in_their_own_unit() -> None:
    images = np.array([0.0, 4.0], dtype=np.float32).reshape(2, 1, 1, 1)
    data = _make(images, [0, 1])
    assert data.normalization.mean == (2.0,)
    assert data.normalise(images).ravel().tolist() == [-1.0, 1.0]


def test_a_constant_channel_is_not_divided_by_0() -> None:
    data = _make(np.full((2, 1, 3, 3), 7, dtype=np.uint8), [0, 1])
    assert data.normalization.std == (1.0,)
    assert np.abs(data.normalise(data.train.images)).max() < 1e-4


def test_digest_sees_pixels_labels_and_augmentation() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    first = _make(images, [0, 1])
    other = images.copy()
    other[1, 0, 1, 1] = 200
    assert first.digest == _make(images.copy(), [0, 1]).digest
    assert first.digest != _make(images, [1, 0]).digest
    assert first.digest != _make(images, [0, 1], test=_split(other, [0, 1])).digest


IMAGES = np.zeros((2, 1, 2, 2), dtype=np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES, [0, 2], "label 2 of image 1 is out of range; expected 0 to 1"),
        (IMAGES, [0, -1], "label -1 of image 1"),
        (IMAGES, [0, 0], "class 'b' has no training images"),
        (IMAGES, [0], "2 images but 1 labels"),
        (IMAGES[:0], [], "no images"),
        (np.full((2, 1, 2, 2), np.nan, dtype=np.float32), [0, 1], "image 0 holds NaN"),
        (
            np.array([0, 0, np.inf, -np.inf], dtype=np.float32).reshape(2, 1, 1, 2),
            [0, 1],
            "image 1 holds NaN or infinity",
        ),
    ],
)
def test_faults_are_refused(images: np.ndarray, labels: list[int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        _make(images, labels)


def test_splits_must_be_alike() -> None:
    with pytest.raises(DataError, match="all must be alike"):
        _make(IMAGES, [0, 1], test=_split(np.zeros((2, 1, 3, 3), dtype=np.uint8), [0, 1]))


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    shares=st.tuples(st.floats(0.01, 0.45), st.floats(0.01, 0.45)),
    seed=st.integers(0, 100),
)
def test_parts_are_a_partition_with_every_class(
    counts: list[int], shares: tuple[float, float], seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple("abcde"[: len(counts)])
    parts = stratified_parts(
        labels, (1 - sum(shares), *shares), seed=seed, class_names=names, where="x"
    )
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(labels)))
    for part in parts:
        assert set(labels[part]) == set(range(len(counts)))
    for part, share in zip(parts[1:], shares, strict=True):
        assert np.abs(np.bincount(labels[part]) - share * np.array(counts)).max() <= 2


def test_a_class_too_small_to_cut_is_named() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    with pytest.raises(DataError, match="class 'cat' has 2 examples; at least 3"):
        stratified_parts(labels, (0.6, 0.2, 0.2), seed=0, class_names=("dog", "cat"), where="pets")


def test_augmenter_without_changes_gives_the_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6)).astype(np.uint8)
    batch = Augmenter(images, AugmentationConfig()).batch(
        np.array([3, 0]), np.random.default_rng(0)
    )
    assert np.array_equal(batch, images[[3, 0]].transpose(0, 2, 3, 1))


def test_augmenter_shifts_by_whole_pixels_and_fills_with_the_edge() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)
    augmenter = Augmenter(image, AugmentationConfig(shift=1))
    batch = augmenter.batch(np.zeros(400, dtype=np.intp), np.random.default_rng(0))
    seen = {picture.tobytes() for picture in batch}
    padded = np.pad(image[0, 0], 1, mode="edge")
    expected = {padded[y : y + 3, x : x + 3].tobytes() for y in range(3) for x in range(3)}
    assert seen == expected


def test_augmenter_mirrors_about_half() -> None:
    image = np.array([[[[1, 2]]]], dtype=np.uint8)
    batch = Augmenter(image, AugmentationConfig(flip=True)).batch(
        np.zeros(1000, dtype=np.intp), np.random.default_rng(0)
    )
    mirrored = batch[:, 0, 0, 0] == 2
    assert 0.45 < mirrored.mean() < 0.55
    assert (batch.sum(axis=(1, 2, 3)) == 3).all()


def test_configs_are_told_apart_by_kind() -> None:
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    assert adapter.validate_python({"kind": "shapes", "seed": 3}) == ShapesConfig(seed=3)
    with pytest.raises(ValidationError, match="union_tag_invalid"):
        adapter.validate_python({"kind": "shape"})
    with pytest.raises(ValidationError, match="extra_forbidden"):
        adapter.validate_python({"kind": "digits", "path": "x"})
