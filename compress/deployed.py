"""The file that a device is given: what its size and its latency are those of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from archspace import Network
from child_models import build_onnx
from compress.quantisation.onnx_int8 import int8_onnx
from compress.quantisation.plan import form_size_bytes
from compress.trained_model import TrainedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class DeployedFile:
    """An ONNX file of one model, and what it takes on disk.

    Attributes:
        network: what it computes.
        onnx: the file that is executed; BatchNorm is folded into the convolutions.
        size_bytes: of that file; of the packed weights where fewer bits are stored than executed.
        runs: what the convolutions compute in.
    """

    network: Network
    onnx: bytes
    size_bytes: int
    runs: Literal["fp32", "int8"]


def deployed_file(model: TrainedModel) -> DeployedFile:
    """`model` as ONNX Runtime is given it, any batch size.

    A model whose weights alone have fewer bits is executed in float32; its size is that of the packed weights.
    """
    quantisation = model.quantisation
    if quantisation is not None and not quantisation.why_not_int8:
        content = int8_onnx(model).SerializeToString(deterministic=True)
        return DeployedFile(
            network=model.network, onnx=content, size_bytes=len(content), runs="int8"
        )
    content = build_onnx(model.network, model.weights).SerializeToString(deterministic=True)
    size = len(content)
    if quantisation is not None:
        forms = quantisation.weights
        size = sum(form_size_bytes(layer, forms.get(layer.name)) for layer in model.network.layers)
    return DeployedFile(network=model.network, onnx=content, size_bytes=size, runs="fp32")
