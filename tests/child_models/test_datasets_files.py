"""Data from files: npz, folders of pictures, CIFAR; what they hold, and every fault's message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from child_models import (
    CifarConfig,
    DataError,
    ImageFolderConfig,
    NpzConfig,
    inspect_path,
    load_data,
)

RNG = np.random.default_rng(0)
CIFAR10_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


def _pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def _npz(path: Path, **arrays: Any) -> Path:
    standard = {"x_train": _pixels(30, 8, 8, 3), "y_train": np.arange(30) % 3}
    merged = {k: v for k, v in {**standard, **arrays}.items() if v is not None}
    np.savez(path / "data.npz", **merged)
    return path / "data.npz"


# --- npz


@pytest.mark.parametrize("shape", [(30, 8, 9, 3), (30, 3, 8, 9)])
def test_npz_finds_the_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = _pixels(*shape)
    data = load_data(NpzConfig(path=_npz(tmp_path, x_train=x, x_val=x, y_val=np.arange(30) % 3)))
    assert data.input_shape == (3, 8, 9)
    expected = x.transpose(0, 3, 1, 2) if shape[-1] == 3 else x
    assert np.array_equal(data.validation.images, expected)
    assert (len(data.train), len(data.test)) == (24, 6)


def test_npz_takes_grey_floats_and_compressed_files(tmp_path: Path) -> None:
    x = RNG.normal(size=(12, 5, 5))
    np.savez_compressed(tmp_path / "a.npz", x_train=x, y_train=np.arange(12)[:, None] % 2)
    data = load_data(NpzConfig(path=tmp_path / "a.npz"))
    assert data.input_shape == (1, 5, 5)
    assert data.train.images.dtype == np.float32


def test_npz_labels_with_gaps_become_contiguous_and_keep_their_names(tmp_path: Path) -> None:
    y = np.array([3, 7, 40] * 10)
    path = _npz(tmp_path, y_train=y, x_test=_pixels(3, 8, 8, 3), y_test=np.array([40, 3, 7]))
    data = load_data(NpzConfig(path=path))
    assert data.class_names == ("3", "7", "40")
    assert data.test.labels.tolist() == [2, 0, 1]


def test_npz_class_names_set_the_range(tmp_path: Path) -> None:
    path = _npz(tmp_path, class_names=np.array(["ant", "bee", "cat"]))
    assert load_data(NpzConfig(path=path)).class_names == ("ant", "bee", "cat")
    path = _npz(tmp_path, class_names=np.array(["ant", "bee"]))
    with pytest.raises(DataError, match=r"y_train\[2\] is 2, out of range; the labels are 0 to 1"):
        load_data(NpzConfig(path=path))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"y_train": None}, "y_train is missing; the file holds"),
        ({"y_train": np.linspace(0, 1, 30)}, "labels must be integers, got float64"),
        ({"y_train": np.eye(3)[np.arange(30) % 3]}, r"one-hot rows take \.argmax"),
        ({"y_train": np.arange(30) % 3 - 1}, r"y_train\[0\] is -1, out of range"),
        ({"y_train": np.arange(29) % 3}, "30 images but 29 labels"),
        ({"y_train": np.zeros(30, dtype=int)}, "at least 2 classes"),
        ({"y_train": np.array([0] * 29 + [1])}, "class '1' has 1 examples; at least 3"),
        ({"x_train": _pixels(30, 64)}, "got shape"),
        ({"x_train": _pixels(30, 8, 8, 7)}, "cannot tell which axis"),
        ({"x_train": _pixels(30, 3, 3, 3)}, "set data.layout"),
        ({"x_train": np.zeros((30, 8, 8), dtype=np.int64)}, "uint8 .* got int64"),
        ({"x_train": np.full((30, 8, 8), np.inf)}, "image 0 holds NaN or infinity"),
        ({"x_train": _pixels(0, 8, 8), "y_train": np.zeros(0, dtype=int)}, "no images"),
        ({"x_val": _pixels(3, 8, 8, 3)}, "x_val and y_val belong together"),
        (
            {"x_test": _pixels(1, 8, 8, 3), "y_test": np.array([9])},
            r"y_test\[0\] is 9, out of range",
        ),
        ({"x_test": _pixels(1, 9, 9, 3), "y_test": np.array([0])}, "all must be alike"),
    ],
)
def test_npz_faults_are_named(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_data(NpzConfig(path=_npz(tmp_path, **arrays)))


def test_npz_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_data(NpzConfig(path=tmp_path / "none.npz"))
    whole = _npz(tmp_path).read_bytes()
    for number, content in enumerate((b"", b"hello", whole[: len(whole) // 2])):
        broken = tmp_path / f"broken{number}.npz"
        broken.write_bytes(content)
        with pytest.raises(DataError, match="truncated or damaged"):
            load_data(NpzConfig(path=broken))
    np.save(tmp_path / "one.npy", _pixels(3, 8, 8))
    with pytest.raises(DataError, match=r"a single array \(\.npy\); expected what np\.savez"):
        load_data(NpzConfig(path=tmp_path / "one.npy"))
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(DataError, match="truncated or damaged"):
        load_data(NpzConfig(path=tmp_path / "damaged.npz"))


def test_npz_never_unpickles(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}] * 30, dtype=object)
    with pytest.raises(DataError, match="pickle"):
        load_data(NpzConfig(path=_npz(tmp_path, x_train=objects)))


# --- folders of pictures


def _pictures(root: Path, count: int = 4, mode: str = "RGB", size: int = 20) -> Path:
    for number, name in enumerate(("cat", "dog")):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            colour = 40 + 150 * number
            Image.new(mode, (size, size + 6), colour if mode == "L" else (colour, 0, 9)).save(
                folder / f"{i}.png"
            )
    return root


def test_folder_reads_classes_in_order_and_cuts_splits(tmp_path: Path) -> None:
    _pictures(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    data = load_data(ImageFolderConfig(path=tmp_path, image_size=16))
    assert data.class_names == ("cat", "dog")
    assert data.input_shape == (3, 16, 16)
    assert [len(data.train), len(data.validation), len(data.test)] == [4, 2, 2]
    for split in (data.train, data.validation, data.test):
        assert np.array_equal(split.images[:, 0, 8, 8], 40 + 150 * split.labels)


def test_folder_takes_given_splits(tmp_path: Path) -> None:
    _pictures(tmp_path / "train")
    _pictures(tmp_path / "val", count=1)
    _pictures(tmp_path / "test", count=2)
    data = load_data(ImageFolderConfig(path=tmp_path, image_size=8, channels="grey"))
    assert [len(data.train), len(data.validation), len(data.test)] == [8, 2, 4]
    assert data.input_shape == (1, 8, 8)


def test_folder_takes_every_common_kind_of_picture(tmp_path: Path) -> None:
    _pictures(tmp_path)
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "cat" / "clear.png")
    Image.fromarray(np.full((9, 9), 256 * 77, dtype=np.uint16)).save(tmp_path / "cat" / "deep.png")
    Image.new("P", (9, 9)).save(tmp_path / "cat" / "palette.gif")
    Image.new("RGB", (300, 200), (200, 100, 0)).save(tmp_path / "cat" / "photo.JPG")
    data = load_data(ImageFolderConfig(path=tmp_path, image_size=8))
    cats = np.concatenate(
        [s.images[s.labels == 0] for s in (data.train, data.validation, data.test)]
    )
    reds = cats[:, 0, 4, 4].tolist()
    assert 255 in reds  # transparent is white
    assert 77 in reds  # 16 bits are scaled, not cut
    assert any(abs(red - 200) < 4 for red in reds)


def test_folder_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_data(ImageFolderConfig(path=tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        load_data(ImageFolderConfig(path=tmp_path / "empty"))
    root = _pictures(tmp_path / "images")
    (root / "eel").mkdir()
    with pytest.raises(DataError, match="class 'eel' has no pictures"):
        load_data(ImageFolderConfig(path=root))
    (root / "eel").rmdir()
    (root / "cat" / "1.png").write_bytes((root / "cat" / "0.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"cat/1\.png: cannot be read as a picture"):
        load_data(ImageFolderConfig(path=root))


def test_folder_refuses_a_class_that_is_only_tested(tmp_path: Path) -> None:
    _pictures(tmp_path / "train")
    _pictures(tmp_path / "test")
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "wolf")
    with pytest.raises(DataError, match="class 'wolf' has no folder in"):
        load_data(ImageFolderConfig(path=tmp_path))


# --- CIFAR


def _cifar10(root: Path, each: int = 20) -> Path:
    root.mkdir(exist_ok=True)
    for name in CIFAR10_FILES:
        records = _pixels(each, 3073)
        records[:, 0] = np.arange(each) % 10
        records[:, 1], records[:, 1025] = 11, 22  # first red and green pixels
        (root / name).write_bytes(records.tobytes())
    return root


def test_cifar10_is_read_plane_by_plane(tmp_path: Path) -> None:
    root = _cifar10(tmp_path / "cifar-10-batches-bin")
    (root / "batches.meta.txt").write_text("plane car bird cat deer dog frog horse ship truck\n\n")
    data = load_data(CifarConfig(path=tmp_path))
    assert [len(data.train), len(data.validation), len(data.test)] == [90, 10, 20]
    assert data.input_shape == (3, 32, 32)
    assert data.class_names[:2] == ("plane", "car")
    assert (data.train.images[:, 0, 0, 0] == 11).all()
    assert (data.train.images[:, 1, 0, 0] == 22).all()


def test_cifar100_takes_the_fine_label(tmp_path: Path) -> None:
    for name in ("train.bin", "test.bin"):
        records = _pixels(200, 3074)
        records[:, 0], records[:, 1] = 5, np.arange(200) % 100
        (tmp_path / name).write_bytes(records.tobytes())
    data = load_data(CifarConfig(path=tmp_path))
    assert data.num_classes == 100
    assert np.bincount(data.test.labels).tolist() == [2] * 100


def test_cifar_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_data(CifarConfig(path=tmp_path / "none"))
    with pytest.raises(DataError, match=r"neither data_batch_1\.bin"):
        load_data(CifarConfig(path=tmp_path))
    root = _cifar10(tmp_path / "c")
    whole = (root / "data_batch_3.bin").read_bytes()
    (root / "data_batch_3.bin").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: .* no whole number"):
        load_data(CifarConfig(path=root))
    (root / "data_batch_3.bin").write_bytes(bytes([77]) + whole[1:])
    with pytest.raises(DataError, match="label 77 of image 0 is out of range"):
        load_data(CifarConfig(path=root))
    (root / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: the file is missing"):
        load_data(CifarConfig(path=root))


def test_cifar_refuses_the_pickle_version(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x00.")
    for read in (lambda: load_data(CifarConfig(path=tmp_path)), lambda: inspect_path(tmp_path)):
        with pytest.raises(DataError, match="Python \\(pickle\\) version"):
            read()


# --- guessing


def test_inspect_path_guesses_the_kind(tmp_path: Path) -> None:
    npz = _npz(tmp_path)
    assert inspect_path(npz) == NpzConfig(path=npz)
    cifar = _cifar10(tmp_path / "cifar", each=1)
    assert inspect_path(cifar) == CifarConfig(path=cifar)
    assert inspect_path(cifar / "data_batch_1.bin") == CifarConfig(path=cifar)
    colour = _pictures(tmp_path / "colour", size=60)
    assert inspect_path(colour) == ImageFolderConfig(path=colour, image_size=64)
    grey = _pictures(tmp_path / "grey", mode="L", size=20)
    assert inspect_path(grey) == ImageFolderConfig(path=grey, image_size=16, channels="grey")


def test_inspect_path_says_what_it_takes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        inspect_path(tmp_path / "none")
    with pytest.raises(DataError, match="nor folders of pictures"):
        inspect_path(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"cannot read \.csv files; expected a \.npz"):
        inspect_path(tmp_path / "a.csv")
