"""BatchNorm's running statistics measured anew, after the weights before it have changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from child_models.datasets.base import Dataset
from child_models.module import ChildModule

IMAGES = 2048
BATCH_SIZE = 128


def measure_statistics(module: ChildModule, dataset: Dataset, *, images: int = IMAGES) -> None:
    """Running means and variances as plain averages over batches of the training split; weights are not touched.

    Up to `images` images are read, the same ones each time, drawn over all classes; none is augmented. Leaves `module`
    in evaluation mode.
    """
    module.eval()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    # a split may be sorted by class
    order = np.random.default_rng(0).permutation(len(dataset.train))[:images]
    # batches that differ by one image at most: a last one of one image would have no variance
    parts = np.array_split(order, -(-len(order) // BATCH_SIZE))
    with torch.no_grad():
        for part in parts:
            batch = dataset.normalise(dataset.train.images[part])
            module(torch.from_numpy(batch).contiguous(memory_format=torch.channels_last))
    module.eval()
