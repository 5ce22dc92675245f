"""What quantisation costs in accuracy: after training, while training, codebooks against grids, mixed bits against uniform ones.

    python benchmarks/quantisation.py --work results/quantisation [--data digits shapes] [--seeds 5] [--variants …] [--tiny]

For each data set and seed one network is trained, then quantised in every way below. Each outcome is a line in
`<work>/records.jsonl`; a run that was stopped goes on where it was. The test split decides nothing: it is read once, when a
variant is done. At the end, for each data set, a table of what is lost against float32, differences between variants paired by
seed, and whether the aims are met.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from quantisation_report import FURTHER, Record, read_records, report

from archspace import INPUT, Network, Shape
from archspace.builder import LayerBuilder
from child_models import (
    Dataset,
    DigitsConfig,
    ShapesConfig,
    TrainingConfig,
    load_data,
    train_child,
)
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.quantise import Quantised, quantise
from compress.trained_model import TrainedModel
from compress.tuning import tune

SEEDS = 5
EPOCHS = {"digits": 60, "shapes": 24}
TUNING_EPOCHS = {"digits": 20, "shapes": 8}
SMALL = {"num_train": 300, "num_validation": 150, "num_test": 150}


def network(shape: Shape, classes: int) -> Network:
    """Full, depthwise, pointwise and grouped convolutions, with sums: what a plan tells apart. About 50,000 parameters."""
    builder = LayerBuilder(shape.channels, "stem")
    x = builder.conv(INPUT, 16, kernel=3, stride=1 if shape.height < 16 else 2, activation="relu")
    for number, channels in enumerate((24, 48, 64)):
        builder.block = f"stage{number}"
        x = builder.conv(x, channels, kernel=3, stride=2 if number else 1, activation="relu")
        y = builder.conv(x, channels, kernel=3, groups=channels, activation="relu")
        x = builder.add((x, builder.conv(y, channels)), activation="relu")
    builder.block = "head"
    output = builder.classifier(builder.conv(x, 96, groups=8, activation="relu"), classes)
    return Network(
        input_shape=shape, num_classes=classes, layers=tuple(builder.layers), output=output
    )


def variants(sizes: dict[int, int], epochs: int) -> dict[str, dict[str, Any]]:
    """Name → fields of `QuantiseConfig`; `sizes` are those of uniform bits, for mixed ones at equal size."""
    trained = {"mode": "qat", "epochs": epochs}
    weights = {"scope": "weights"}
    found: dict[str, dict[str, Any]] = {
        "int8 ptq minmax": {"map_method": "minmax", "weight_method": "minmax"},
        "int8 ptq percentile": {"map_method": "percentile", "weight_method": "percentile"},
        "int8 ptq mse": {},
        "w4a8 ptq": {"weight_bits": 4},
        "w4a8 qat ste": {"weight_bits": 4, **trained},
        "w4a8 qat lsq": {"weight_bits": 4, "scales": "lsq", **trained},
        "w4a8 qat noise": {"weight_bits": 4, "weight_noise": 0.1, **trained},
        "w4a4 qat ste": {"weight_bits": 4, "map_bits": 4, **trained},
        "w4a4 qat lsq": {"weight_bits": 4, "map_bits": 4, "scales": "lsq", **trained},
    }
    for bits in (2, 3, 4):
        wide = {**weights, "weight_bits": bits}
        found |= {
            f"w{bits} grid a channel": wide,
            f"w{bits} grid a layer": {**wide, "per_channel": False},
            f"w{bits} codebook": {**wide, "mode": "codebook", "epochs": 0},
        }
    for bits in (2, 3):
        wide = {**weights, "weight_bits": bits}
        found |= {
            f"w{bits} grid a channel, trained": {**wide, **trained},
            f"w{bits} grid a layer, trained": {**wide, **trained, "per_channel": False},
            f"w{bits} codebook, trained": {**wide, "mode": "codebook", "epochs": epochs},
        }
    for bits in (3, 4):
        mixed = {**weights, "weight_bits": 8, "max_size_bytes": sizes[bits]}
        found |= {f"w{bits} mixed": mixed}
        if bits == 3:
            found |= {"w3 mixed, trained": {**mixed, **trained}}
    return found


def trained_model(work: Path, data: str, dataset: Dataset, seed: int, epochs: int) -> TrainedModel:
    """From `work`, or trained and put there."""
    from safetensors.numpy import load_file, save_file

    net = network(dataset.input_shape, dataset.num_classes)
    path = work / f"{data}-{seed}-{epochs}-{net.digest}.safetensors"
    if not path.exists():
        trained = train_child(net, dataset, TrainingConfig(), epochs=epochs, seed=seed)
        save_file(trained.weights, path.with_suffix(".partial"))
        path.with_suffix(".partial").rename(path)
    return TrainedModel.of(net, load_file(path))


def int8_outcome(model: TrainedModel, dataset: Dataset) -> tuple[float, float]:
    """(share of test images whose class is fake quantisation's, share that is right), executed by ONNX Runtime in INT8."""
    import onnxruntime

    from compress.quantisation.onnx_int8 import int8_onnx

    content = int8_onnx(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    images = dataset.normalise(dataset.test.images)
    chunks = [images[start : start + 250] for start in range(0, len(images), 250)]
    classes = np.concatenate([session.run(None, {"image": c})[-1].argmax(1) for c in chunks])
    expected = model.logits(dataset.test, dataset)[-1].argmax(1)
    return float((classes == expected).mean()), float((classes == dataset.test.labels).mean())


def record(
    data: str, seed: int, name: str, dataset: Dataset, result: Quantised, seconds: float
) -> Record:
    """Reads the test split: the variant is done."""
    agreement, right = (
        int8_outcome(result.model, dataset) if result.execution == "int8" else (None, None)
    )
    return Record(
        data=data,
        seed=seed,
        variant=name,
        size_bytes=result.size_bytes,
        validation=result.accuracy_after,
        test=result.model.accuracy(dataset.test, dataset),
        execution=result.execution,
        agreement=agreement,
        int8_test=right,
        seconds=seconds,
    )


def run_seed(
    work: Path, data: str, dataset: Dataset, seed: int, tiny: bool, chosen: Sequence[str] | None
) -> None:
    """Everything that is not in the records yet; of the variants those that are `chosen`, or all."""
    from compress.quantisation.plan import BitPlan, network_size_bytes

    records = work / "records.jsonl"
    done = {(r.data, r.seed, r.variant) for r in read_records(records)}
    epochs, tuning = (2, 1) if tiny else (EPOCHS[data], TUNING_EPOCHS[data])
    model = trained_model(work, data, dataset, seed, epochs)
    sizes = {
        b: network_size_bytes(model.network, BitPlan.uniform(b).bits(model.network)) for b in (3, 4)
    }
    found = variants(sizes, tuning)
    unknown = sorted(set(chosen or ()) - set(found))
    if unknown:
        raise SystemExit(f"--variants: {unknown} are unknown; expected some of {sorted(found)}")
    todo: dict[str, dict[str, Any] | None] = {"float32": None, FURTHER: None, **found}
    for name in set(found) - set(chosen or found):
        del todo[name]
    for name, fields in todo.items():
        if (data, seed, name) in done:
            continue
        start = time.perf_counter()
        if fields is None:
            further = name == FURTHER
            result = unquantised(
                trained_further(model, dataset, tuning, seed) if further else model, dataset
            )
        else:
            config = QuantiseConfig.model_validate(fields)
            result = quantise(model, dataset, config, TrainingConfig(), seed=seed)
        row = record(data, seed, name, dataset, result, time.perf_counter() - start)
        with records.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(f"{data} seed {seed} {name}: {row.validation:.2%}, {row.seconds:.0f} s", flush=True)


def trained_further(model: TrainedModel, dataset: Dataset, epochs: int, seed: int) -> TrainedModel:
    """In float32, as long and with the same settings as "qat" trains: what training alone would bring."""
    rate = QuantiseConfig().learning_rate
    training = TrainingConfig(learning_rate=rate, precision="fp32")
    return tune(model, dataset, training, epochs=epochs, seed=seed).model


def unquantised(model: TrainedModel, dataset: Dataset) -> Quantised:
    """The float32 network as a variant like the others."""
    from compress.quantisation.plan import network_size_bytes

    size = network_size_bytes(model.network, {})
    accuracy = model.accuracy(dataset.validation, dataset)
    choice = model.with_exits_chosen(dataset, max_drop=0.0)[1]
    return Quantised(model, choice, (), size, size, accuracy, accuracy, "float32")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--data", nargs="+", choices=("digits", "shapes"), default=["digits", "shapes"]
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--variants", nargs="+", help="by name; beside float32 (default: all)")
    parser.add_argument("--tiny", action="store_true", help="two epochs: only to see that it runs")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    for data in options.data:
        config = (
            DigitsConfig() if data == "digits" else ShapesConfig(**SMALL if options.tiny else {})
        )
        dataset = load_data(config)
        for seed in range(options.seeds):
            run_seed(options.work, data, dataset, seed, options.tiny, options.variants)
    print(report(read_records(options.work / "records.jsonl")))


if __name__ == "__main__":
    main()
