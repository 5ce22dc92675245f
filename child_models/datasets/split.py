"""Cutting one set of images into parts that hold all classes in equal shares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from child_models.datasets.base import DataError, Split, check_lengths


def stratified_parts(
    labels: NDArray[np.int64],
    shares: tuple[float, ...],
    *,
    seed: int,
    class_names: tuple[str, ...],
    where: str,
) -> list[NDArray[np.intp]]:
    """Indices of each part, growing; every part gets its share of each class, and at least one of it.

    Args:
        labels: (samples,), in [0, classes).
        shares: of each part; they sum to 1. What rounding leaves over goes to the first part.

    Raises:
        DataError: a class with fewer examples than parts.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.intp]]] = [[] for _ in shares]
    for label, name in enumerate(class_names):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < len(shares):
            raise DataError(
                f"{where}: class {name!r} has {len(members)} examples; at least {len(shares)} are "
                f"needed to cut it into {len(shares)} parts: add some or remove the class"
            )
        sizes = [max(1, round(share * len(members))) for share in shares[1:]]
        while sum(sizes) >= len(members):
            sizes[int(np.argmax(sizes))] -= 1
        ends = np.cumsum(sizes)
        for part, end, size in zip(parts[1:], ends, sizes, strict=True):
            part.append(members[end - size : end])
        parts[0].append(members[sum(sizes) :])
    return [np.sort(np.concatenate(part)) for part in parts]


def fill_splits(
    pool: Split,
    given: Mapping[str, Split],
    shares: Mapping[str, float],
    *,
    seed: int,
    class_names: tuple[str, ...],
    where: str,
) -> dict[str, Split]:
    """`given` ("validation", "test") with what is missing cut off `pool`, whose rest is "train".

    Args:
        shares: share of the pool that each missing split gets, by name; together below 1.

    Raises:
        DataError: the pool is empty or has not one label an image, or a class has too few examples to be cut.
    """
    check_lengths(f"{where}: train", pool)
    missing = [name for name in shares if name not in given]
    sizes = tuple(shares[name] for name in missing)
    if not missing:
        return {"train": pool, **given}
    if sum(sizes) >= 1:
        raise DataError(f"{where}: validation_share + test_share leave nothing for training")
    parts = stratified_parts(
        pool.labels,
        (1 - sum(sizes), *sizes),
        seed=seed,
        class_names=class_names,
        where=where,
    )
    cut_off = {
        name: Split(images=pool.images[part], labels=pool.labels[part])
        for name, part in zip(("train", *missing), parts, strict=True)
    }
    return {**cut_off, **given}
