"""Kept answers: they are the teacher's, made once, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from child_models import AugmentationConfig, Dataset
from child_models.batches import ViewBatches
from compress import TrainedModel, UncacheableTeacher
from compress.distillation import teacher_cache
from compress.distillation.teacher import LiveTeacher
from compress.distillation.teacher_cache import CachedTeacher

AUGMENTATION = AugmentationConfig(shift=1)
LAYER = "n2"


def views(dataset: Dataset, *, seed: int = 0, views: int = 2, views_seed: int = 0) -> ViewBatches:
    return ViewBatches(
        dataset,
        AUGMENTATION,
        batch_size=100,
        channels_last=True,
        seed=seed,
        views=views,
        views_seed=views_seed,
    )


def cached(
    teacher: TrainedModel, dataset: Dataset, batches: ViewBatches, folder: Path
) -> CachedTeacher:
    return CachedTeacher(teacher, dataset, batches, AUGMENTATION, [LAYER], folder)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever a teacher is run to fill a cache."""
    seen: list[str] = []

    class Counted(LiveTeacher):
        def __init__(self, *args: object) -> None:
            seen.append("run")
            super().__init__(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(teacher_cache, "LiveTeacher", Counted)
    return seen


def test_answers_are_those_of_the_teacher_on_the_same_images(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path
) -> None:
    batches = views(digits, seed=3)
    kept = cached(teacher, digits, batches, tmp_path)
    live = LiveTeacher(teacher, [LAYER])
    seen = set()
    for _ in range(3):
        for batch in batches.epoch():
            seen.add(batch.view)
            ours, theirs = kept(batch), live(batch)
            assert torch.allclose(ours.logits, theirs.logits, atol=1e-4)
            assert ours.maps[LAYER].dtype == torch.float32
            assert torch.allclose(ours.maps[LAYER], theirs.maps[LAYER], rtol=2e-3, atol=1e-3)
    assert seen == {0, 1}


def test_a_view_is_the_same_for_every_order_and_differs_from_the_next(digits: Dataset) -> None:
    def pictures(batches: ViewBatches) -> NDArray[np.float32]:
        found = np.empty((batches.size, *digits.input_shape), dtype=np.float32)
        for batch in batches.epoch():
            found[batch.indices] = batch.images.numpy()
        return found

    first, second = views(digits, seed=1), views(digits, seed=2)
    mine = [pictures(first) for _ in range(3)]
    assert np.array_equal(mine[0], pictures(second))
    assert np.array_equal(mine[0], mine[2])  # epoch 2 shows view 0 again
    assert not np.array_equal(mine[0], mine[1])
    assert not np.array_equal(mine[0], pictures(views(digits, views_seed=1)))
    for view in (0, 1):
        in_order = np.concatenate([batch.images.numpy() for batch in first.in_order(view)])
        assert np.array_equal(in_order, mine[view])
    orders = [next(iter(views(digits, seed=seed).epoch())).indices for seed in (1, 2)]
    assert not np.array_equal(*orders)


def test_the_teacher_runs_once(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path, runs: list[str]
) -> None:
    folder = cached(teacher, digits, views(digits), tmp_path).folder
    assert cached(teacher, digits, views(digits, seed=9), tmp_path).folder == folder
    assert len(runs) == 1
    # more layers are added to what is there
    before = (folder / "logits.npy").stat().st_ino
    CachedTeacher(teacher, digits, views(digits), AUGMENTATION, [LAYER, "n1"], tmp_path)
    assert len(runs) == 2
    assert (folder / "logits.npy").stat().st_ino == before
    assert not list(folder.glob(".*.tmp"))


def test_whatever_changes_the_answers_has_its_own_folder(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path
) -> None:
    weights = {name: array.copy() for name, array in teacher.weights.items()}
    next(iter(weights.values()))[...] *= 1.001
    other = TrainedModel(network=teacher.network, weights=weights)
    folders = {
        cached(teacher, digits, views(digits), tmp_path).folder,
        cached(other, digits, views(digits), tmp_path).folder,
        cached(teacher, digits, views(digits, views=1), tmp_path).folder,
        cached(teacher, digits, views(digits, views_seed=1), tmp_path).folder,
        CachedTeacher(
            teacher, digits, views(digits), AugmentationConfig(), [LAYER], tmp_path
        ).folder,
    }
    assert len(folders) == 5


def _truncate(folder: Path) -> None:
    path = folder / "logits.npy"
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(folder: Path) -> None:
    path = folder / f"layer-{LAYER}.npy"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def _flip_a_bit_and_keep_the_time(folder: Path) -> None:
    """As a failing disk does; a new process notices."""
    path = folder / "logits.npy"
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    teacher_cache._sha256.cache_clear()


def _remove(folder: Path) -> None:
    (folder / "logits.npy").unlink()


def _garble_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])


def _forget_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip_a_bit,
        _flip_a_bit_and_keep_the_time,
        _remove,
        _garble_the_manifest,
        _forget_the_manifest,
    ],
)
def test_damage_is_noticed_and_repaired(
    teacher: TrainedModel,
    digits: Dataset,
    tmp_path: Path,
    runs: list[str],
    damage: Callable[[Path], None],
) -> None:
    batches = views(digits)
    batch = next(iter(batches.in_order(1)))
    first = cached(teacher, digits, batches, tmp_path)
    before = first(batch)
    damage(first.folder)
    after = cached(teacher, digits, batches, tmp_path)(batch)
    assert len(runs) == 2
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.maps[LAYER], after.maps[LAYER])
    cached(teacher, digits, batches, tmp_path)
    assert len(runs) == 2


def test_a_process_that_dies_while_writing_leaves_nothing_that_counts(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teacher_cache, "write_atomic", die)
        with pytest.raises(KeyboardInterrupt):
            cached(teacher, digits, views(digits), tmp_path)
    (folder,) = tmp_path.iterdir()
    left = folder / ".logits.99999.tmp"  # of a process that was killed outright
    left.write_bytes(b"half")
    kept = cached(teacher, digits, views(digits), tmp_path)
    assert not left.exists()
    assert kept(next(iter(views(digits).in_order(0)))).logits.shape == (250, 10)


def test_numbers_that_do_not_fit_are_refused(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path
) -> None:
    weights = {name: array.copy() for name, array in teacher.weights.items()}
    weights[f"layers.{LAYER}.norm.weight"] *= 1e6
    loud = TrainedModel(network=teacher.network, weights=weights)
    with pytest.raises(UncacheableTeacher, match=r"layer-n2: .* above 6.55e\+04.*views: 0"):
        cached(loud, digits, views(digits), tmp_path)
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_the_files_are_plain_arrays_with_a_manifest(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path
) -> None:
    folder = cached(teacher, digits, views(digits), tmp_path).folder
    logits = np.load(folder / "logits.npy", allow_pickle=False)
    maps = np.load(folder / f"layer-{LAYER}.npy", allow_pickle=False)
    size = len(digits.train)
    assert (logits.shape, logits.dtype) == ((2, size, 10), np.float32)
    assert (maps.shape, maps.dtype) == ((2, size, 32, 4, 4), np.float16)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["logits"]["shape"] == [2, size, 10]


def _work(
    teacher: TrainedModel, dataset: Dataset, folder: Path, start: float, answers: Path
) -> None:
    """Runs in a process of its own."""
    torch.set_num_threads(1)
    time.sleep(max(0.0, start - time.time()))
    kept = cached(teacher, dataset, views(dataset), folder)
    np.save(answers, kept(next(iter(views(dataset).in_order(1)))).logits.numpy())


@pytest.mark.slow
def test_several_processes_make_one_cache(
    teacher: TrainedModel, digits: Dataset, tmp_path: Path
) -> None:
    context = mp.get_context("fork")
    kept = tmp_path / "kept"
    start = time.time() + 1.0
    workers = [
        context.Process(target=_work, args=(teacher, digits, kept, start, tmp_path / f"{n}.npy"))
        for n in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    results = [np.load(tmp_path / f"{n}.npy") for n in range(3)]
    assert all(np.array_equal(results[0], other) for other in results[1:])
    (folder,) = kept.iterdir()
    names = {path.name for path in folder.iterdir()}
    assert names == {".lock", "logits.npy", f"layer-{LAYER}.npy", "manifest.json"}
    inode = (folder / "logits.npy").stat().st_ino
    cached(teacher, digits, views(digits), kept)
    assert (folder / "logits.npy").stat().st_ino == inode
