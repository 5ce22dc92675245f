"""Cutting one set of images into parts that hold all classes in equal shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from child_models.datasets.base import DataError, Images, Split


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
        start = 0
        for part, size in zip(parts[1:], sizes, strict=True):
            part.append(members[start : start + size])
            start += size
        parts[0].append(members[start:])
    return [np.sort(np.concatenate(part)) for part in parts]


def cut(
    images: Images,
    labels: NDArray[np.int64],
    shares: tuple[float, ...],
    *,
    seed: int,
    class_names: tuple[str, ...],
    where: str,
) -> list[Split]:
    """`stratified_parts` applied: one split a share."""
    parts = stratified_parts(labels, shares, seed=seed, class_names=class_names, where=where)
    return [Split(images=images[part], labels=labels[part]) for part in parts]
