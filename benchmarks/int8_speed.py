"""INT8 against float32 in ONNX Runtime: times of one call, interleaved in one run, and sizes of the files.

    python benchmarks/int8_speed.py [--depth 56] [--batches 1 16] [--rounds 60] [--threads 1]

The network is the ResNet of He et al. 2016, section 4.2, for 32×32 images, with random weights (times do not depend on their
values); grids are calibrated on random images. Every round times each network once, in a random order. Weight-only quantisation
is not timed: it is executed as the float32 network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import INPUT, Network, Shape
from archspace.builder import LayerBuilder

CLASSES = 10


def resnet(depth: int) -> Network:
    """ResNet of `depth` = 6n + 2 layers: 16, 32 and 64 channels, n blocks each, projections where the shape changes."""
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth: expected 6n + 2 (8, 14, 20, … 56), got {depth}")
    builder = LayerBuilder(3, "stem")
    x = builder.conv(INPUT, 16, kernel=3, activation="relu")
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(blocks):
            builder.block = f"stage{stage}_block{block}"
            stride = 2 if stage and block == 0 else 1
            y = builder.conv(x, channels, kernel=3, stride=stride, activation="relu")
            y = builder.conv(y, channels, kernel=3)
            skip = x if stride == 1 else builder.conv(x, channels, stride=stride)
            x = builder.add((y, skip), activation="relu")
    builder.block = "head"
    output = builder.classifier(x, CLASSES)
    return Network(
        input_shape=Shape(3, 32, 32),
        num_classes=CLASSES,
        layers=tuple(builder.layers),
        output=output,
    )


@dataclass(frozen=True)
class Pair:
    """The same network twice, as ONNX, and how far INT8's logits are off those of fake quantisation."""

    float32: bytes
    int8: bytes
    nodes: int
    gap: float


def make_pair(network: Network, batch: int | None) -> Pair:
    """Both graphs; see `executed` for what ONNX Runtime makes of them."""
    import torch

    from child_models import build_onnx
    from child_models.int8_onnx import quantised_nodes
    from child_models.onnx_graph import random_weights
    from compress.quantisation.calibration import MapObserver
    from compress.quantisation.module import fake_quantised_module
    from compress.quantisation.onnx_int8 import int8_onnx
    from compress.quantisation.plan import BitPlan
    from compress.quantisation.post_training import (
        WeightCalibration,
        observed,
        weight_forms,
        with_weights_rounded,
    )
    from compress.quantisation.result import Quantisation
    from compress.trained_model import TrainedModel

    model = TrainedModel.of(network, random_weights(network))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((64, *network.input_shape), dtype=np.float32)
    seen: dict[str, MapObserver] = observed(model, [torch.from_numpy(images)], histograms=False)
    forms = weight_forms(
        model, BitPlan.uniform(8).bits(network), WeightCalibration(method="minmax")
    )
    maps = {name: observer.grid(8, method="minmax") for name, observer in seen.items()}
    rounded = with_weights_rounded(model, forms)
    rounded = replace(rounded, quantisation=Quantisation(weights=forms, maps=maps))
    graph = int8_onnx(rounded, batch=batch)
    content = graph.SerializeToString(deterministic=True)
    probe = images[: batch or 16]
    with torch.inference_mode():
        module = fake_quantised_module(rounded.network, rounded.weights, Quantisation(maps=maps))
        expected = module(torch.from_numpy(probe))[-1].numpy()
    (found,) = session(content, 1).run(None, {"image": probe})
    gap = float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))
    plain = build_onnx(network, model.weights, batch=batch).SerializeToString(deterministic=True)
    return Pair(plain, content, quantised_nodes(graph), gap)


def session(content: bytes, threads: int, optimised: Path | None = None) -> Any:
    """An inference session on the CPU, optionally writing the graph that it executes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def executed(content: bytes) -> dict[str, int]:
    """Operation → how many nodes of it ONNX Runtime executes, after its own optimisation."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        session(content, 1, path)
        nodes = onnx.load_model(path, load_external_data=False).graph.node
    names = [node.op_type for node in nodes]
    return {name: names.count(name) for name in sorted(set(names))}


def times_ms(
    pair: Pair, shape: Shape, batch: int, rounds: int, threads: int
) -> NDArray[np.float64]:
    """(rounds, 2): float32 and INT8, milliseconds a call."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, *shape), dtype=np.float32)
    sessions = [session(content, threads) for content in (pair.float32, pair.int8)]
    for each in sessions * 3:
        each.run(None, {"image": images})
    times = np.empty((rounds, 2))
    for row in times:
        for column in rng.permutation(2):
            start = time.perf_counter()
            sessions[column].run(None, {"image": images})
            row[column] = 1e3 * (time.perf_counter() - start)
    return times


def main() -> None:
    """Print one line a batch size, then sizes and what was executed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    network = resnet(options.depth)
    for batch in options.batches:
        pair = make_pair(network, batch)
        times = times_ms(pair, network.input_shape, batch, options.rounds, options.threads)
        plain, int8 = np.median(times, axis=0)
        fastest = times.min(axis=0)
        low, middle, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
        print(
            f"batch {batch}: float32 {plain:.2f} ms, INT8 {int8:.2f} ms; ratio by round, median {middle:.2f}× "
            f"(quartiles {low:.2f}–{high:.2f}×); fastest calls {fastest[0]:.2f} and {fastest[1]:.2f} ms, "
            f"{fastest[0] / fastest[1]:.2f}×",
            flush=True,
        )
    print(
        f"files: float32 {len(pair.float32):,} bytes, INT8 {len(pair.int8):,}: "
        f"{len(pair.float32) / len(pair.int8):.2f}× smaller"
    )
    print(
        f"{pair.nodes} convolutions and linear layers with integers; executed: {executed(pair.int8)}"
    )
    print(f"INT8 is {pair.gap:.2%} off fake quantisation (root mean square over the logits')")


if __name__ == "__main__":
    main()
