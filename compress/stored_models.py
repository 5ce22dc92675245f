"""Trained models in folders: ``architecture.json``, ``model.safetensors`` and ``quantisation.json``, as exports hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from archspace import ArchitectureDocument, Network, SchemaError, write_atomic
from child_models import weight_shapes
from compress.errors import ModelNotReadable
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel
from deploy.files import ARCHITECTURE, QUANTISATION, WEIGHTS

_CHANGED = " compressed"


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredModel:
    """A model and the rest of its architecture file: class names, normalisation, where it was found."""

    model: TrainedModel
    document: ArchitectureDocument


def read_model(path: Path, architecture: Path | None = None) -> StoredModel:
    """A model from an export's folder, or from a safetensors file of weights.

    Args:
        path: a folder with ``architecture.json`` and ``model.safetensors``, or a ``.safetensors`` file.
        architecture: the file that says what network the weights are of; by default the one beside them.

    Raises:
        ModelNotReadable: something is missing, damaged, or does not belong together.
    """
    if not path.exists():
        raise ModelNotReadable(f"{path}: there is no such file or folder")
    weights = path / WEIGHTS if path.is_dir() else path
    architecture = architecture or weights.with_name(ARCHITECTURE)
    for file in (architecture, weights):
        if not file.is_file():
            raise ModelNotReadable(
                f"{path}: expected an exported folder, or weights with an architecture file; there is no {file}"
            )
    if weights.suffix != ".safetensors":
        raise ModelNotReadable(
            f"{weights}: expected weights as .safetensors; a pickled checkpoint is not read, since reading it may run "
            "code. Save its state dict with safetensors.torch.save_file"
        )
    try:
        document = ArchitectureDocument.load(architecture)
        arrays = load(weights.read_bytes())
        model = _quantised(document.network, arrays, weights.with_name(QUANTISATION))
    except (SchemaError, SafetensorError, ValueError, KeyError, OSError) as error:
        raise ModelNotReadable(f"{path}: {error}") from error
    return StoredModel(model=model, document=document)


def _quantised(network: Network, arrays: Mapping[str, NDArray[Any]], file: Path) -> TrainedModel:
    """With its grids where some layer has fewer than 32 bits or maps are quantised."""
    if not file.is_file():
        return TrainedModel.of(network, arrays)
    grids = Quantisation.from_json(file.read_text(encoding="utf-8"))
    kept = {name: np.array(arrays[name], dtype=np.float32) for name in weight_shapes(network)}
    return TrainedModel(network=network, weights=kept, quantisation=grids)


def write_model(folder: Path, stored: StoredModel) -> None:
    """Write the files into `folder`, each whole or not at all; the weights last."""
    document_for(stored).save(folder / ARCHITECTURE)
    if stored.model.quantisation is not None:
        write_atomic(folder / QUANTISATION, stored.model.quantisation.to_json())
    arrays = {name: np.ascontiguousarray(array) for name, array in stored.model.weights.items()}
    write_atomic(folder / WEIGHTS, save(arrays, metadata={"format": "pt"}))


def document_for(stored: StoredModel) -> ArchitectureDocument:
    """The architecture file of the model as it is now.

    A network that compression has changed is in no search space any more: space and choices are left out then.
    """
    document, network = stored.document, stored.model.network
    if network.digest == document.network.digest:
        return replace(document, network=network)
    return replace(
        document,
        network=network,
        digest=network.digest,
        label=document.label.removesuffix(_CHANGED) + _CHANGED,
        space=None,
        choices=None,
    )
