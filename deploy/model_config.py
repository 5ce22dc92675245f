"""``config.json``: the fields that timm and Hugging Face tools look for, and nothing that is not so."""

from __future__ import annotations

import json

from archspace import ArchitectureDocument, Network


def model_name(digest: str) -> str:
    """Name under which a trainer may register the network."""
    return f"netlathe_{digest}"


def config_json(document: ArchitectureDocument) -> str:
    """Text of ``config.json``.

    `architecture`, `num_classes`, `model_args` and `pretrained_cfg` are laid out as timm writes them,
    `architectures`, `id2label` and `label2id` as Hugging Face does. There is no ``auto_map``: it promises
    a ``PreTrainedModel``, which ``model.py`` (PyTorch only) is not; `netlathe` says how to load it.
    """
    network = document.network
    shape = list(network.input_shape)
    normalization = document.normalization
    mean = list(normalization.mean) if normalization else [0.0] * shape[0]
    std = list(normalization.std) if normalization else [1.0] * shape[0]
    config = {
        "architecture": model_name(document.digest),
        "architectures": ["Model"],
        "num_classes": network.num_classes,
        "num_features": _features(network),
        "model_args": {},
        "pretrained_cfg": {
            "input_size": shape,
            "fixed_input_size": True,
            "mean": mean,
            "std": std,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "num_classes": network.num_classes,
            "pool_size": None,
            "first_conv": _first_conv(network),
            "classifier": f"layers.{network.output}.linear",
            "label_names": list(document.class_names) or None,
        },
        "id2label": {str(i): name for i, name in enumerate(document.class_names)},
        "label2id": {name: i for i, name in enumerate(document.class_names)},
        "netlathe": {"code": "model.py", "load": "load", "weights": "model.safetensors"},
    }
    return json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _features(network: Network) -> int:
    """Width of what the final head reads."""
    return next(layer.in_channels for layer in network.layers if layer.name == network.output)


def _first_conv(network: Network) -> str | None:
    names = (layer.name for layer in network.layers if layer.op == "conv")
    first = next(names, None)
    return f"layers.{first}.conv" if first else None
