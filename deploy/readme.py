"""``README.md`` of an export: what it is, its figures, and how to use each file."""

from __future__ import annotations

from archspace import ArchitectureDocument
from child_models import count_bytes, count_macs, count_params, onnx_output_names
from deploy import files
from deploy.info import ExportInfo
from deploy.model_config import model_name

_USE = """\
## Use it

Run these in this folder.

PyTorch, nothing else needed (`model.py` is plain code: read it):

```python
import torch, model
network = model.load()
images = torch.randint(0, 256, (4, {shape}), dtype=torch.uint8)  # yours: pixels, 0-255
classes, heads = network.predict(model.preprocess(images))
```

ONNX Runtime (`model.onnx`, any batch size; outputs {outputs}):

```python
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
images = np.random.randint(0, 256, (4, {shape}))  # yours: pixels, 0-255
scaled = (images / 255 - np.reshape({mean}, (-1, 1, 1))) / np.reshape({std}, (-1, 1, 1))
outputs = session.run(None, {{"image": scaled.astype(np.float32)}})
```

timm and Hugging Face style (`config.json`, `model.safetensors`):

```python
import json, model, timm
def {name}(pretrained=False, **_): return model.load() if pretrained else model.Model()
{name}.__module__, model.__all__ = "model", []
timm.models.register_model({name})
network = timm.create_model("local-dir:.", pretrained=True)
data = timm.data.resolve_data_config(pretrained_cfg=json.load(open("config.json"))["pretrained_cfg"])
```

Train it anew, from the architecture alone: `netlathe train architecture.json --data …`.
`architecture.json` lists every layer, so other tools can build it without Netlathe or `model.py`.

Check that all of these agree: `netlathe verify .`; that nothing changed: `sha256sum -c SHA256SUMS`.
"""


_INT8 = """
## INT8

`model.int8.onnx` is the same network with 8-bit weights and maps; inputs and outputs are as of `model.onnx`. ONNX Runtime
executes it with its INT8 kernels: load it in place of `model.onnx`. Its logits are not those of the float32 files: those use the
rounded weights, but round no maps. `quantisation.json` holds all scales and zero points.
"""

_PACKED = """
## Packed weights

`model.packed.safetensors` holds the weights in as many bits as they need, BatchNorm folded in: for a device that unpacks them
itself. An array `<layer>.packed` unpacks like this, and comes in PyTorch's order; `<layer>.bias` is float32.

```python
import struct, numpy as np
def unpack(data):  # uint8 array → one scale an output channel (or centroids), and the integers
    _, bits, numbers, count = struct.unpack_from("<BBII", data)
    flat = np.unpackbits(data[10 + 4 * numbers :], count=bits * count, bitorder="little")
    integers = np.packbits(flat.reshape(-1, bits), axis=1, bitorder="little").ravel()
    return np.frombuffer(data.tobytes(), "<f4", numbers, 10), integers, bits
# weights[channel] = scale[channel] * (integers[channel] - 2 ** (bits - 1) + 1); of a codebook: centroids[integers]
```
"""

_ROUNDED = """
## Quantised weights

`quantisation.json` says which numbers each layer's weights (and maps, if listed) may take; the weights in all files are those
numbers. They are executed in float32: what gets smaller is what a packed file takes, not the time.
"""


def readme(
    document: ArchitectureDocument, info: ExportInfo, extra: frozenset[str] = frozenset()
) -> str:
    """Text of ``README.md``: the same for equal input, so measured figures are only pointed to.

    Args:
        extra: names of the files that only a quantised network has.
    """
    network = document.network
    normalization = document.normalization
    channels = network.input_shape.channels
    outputs = [f"`{name}`" for name in onnx_output_names(network)]
    use = _USE.format(
        shape=", ".join(str(size) for size in network.input_shape),
        outputs=", ".join(outputs),
        mean=list(normalization.mean) if normalization else [0.0] * channels,
        std=list(normalization.std) if normalization else [1.0] * channels,
        name=model_name(document.digest),
    )
    quantised = ""
    if files.PACKED in extra:
        quantised = _PACKED
    if files.QUANTISATION in extra:
        quantised = (_INT8 if files.INT8_ONNX in extra else _ROUNDED) + quantised
    marks = "".join(f"> **{_cell(mark)}**\n\n" for mark in info.marks)
    return (
        f"# {_cell(info.pick)}: {model_name(document.digest)}\n\n"
        f"An image classifier that Netlathe found for the device “{_cell(info.device)}” "
        f"on the data set “{_cell(info.dataset)}”.\n\n"
        f"{marks}![The layers](architecture.svg)\n\n"
        f"## Figures\n\n{_figures(document, info)}\n{_exits(document, info)}{use}{quantised}"
    )


def _figures(document: ArchitectureDocument, info: ExportInfo) -> str:
    network = document.network
    rows = [("figure", "value", "note"), ("---", "---", "---")]
    for accuracy in info.accuracies:
        value = f"{accuracy.value:.2%} ± {accuracy.standard_error:.2%}"
        rows.append((f"{accuracy.name} accuracy", value, "± standard error"))
    for cost in info.costs:
        spread = f" ± {cost.std:.3g}" if cost.std else ""
        rows.append((cost.name, f"{cost.value:.4g}{spread} {cost.unit}", cost.source))
    rows.append(("parameters", f"{count_params(network):,}", "all heads"))
    rows.append(("multiply-accumulates", f"{count_macs(network):,}", "one image, all heads"))
    if any(layer.bits != 32 for layer in network.layers):
        rows.append(("bytes of the stored weights", f"{count_bytes(network):,}", "packed"))
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |\n" for row in rows]
    measured = "\nMeasured figures, which vary a little, are in `measurements.json`.\n"
    return "".join(lines) + (measured if info.measurements else "")


def _exits(document: ArchitectureDocument, info: ExportInfo) -> str:
    """The early exits' table, or nothing."""
    exits = document.network.exits
    if not exits:
        return "\n"
    shares = info.exit_shares or (None,) * (len(exits) + 1)
    names = [*(exit_.name for exit_ in exits), "final head"]
    thresholds = [*(f"{exit_.threshold:.4f}" for exit_ in exits), "–"]
    rows = [
        f"| {_cell(name)} | {threshold} | {'unknown' if share is None else f'{share:.1%}'} |\n"
        for name, threshold, share in zip(names, thresholds, shares, strict=True)
    ]
    return (
        "\n## Early exits\n\nAn image leaves at the first head whose normalised entropy is at most "
        "the threshold; `predict` does so.\n\n| head | threshold | images that leave there |\n"
        f"| --- | --- | --- |\n{''.join(rows)}\n"
    )


def _cell(text: str) -> str:
    """`text` on one line, without what Markdown or HTML would take for markup."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
