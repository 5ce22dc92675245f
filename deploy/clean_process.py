"""Runs in a process of its own that cannot import Netlathe: rebuilds an export from its own files.

Started by `verify` as ``python -I -c <this text> request.json``, so it imports nothing of ours, at no time.
It reads a JSON request, and writes a JSON answer and the logits beside it.
"""

import importlib
import importlib.abc
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Wall(importlib.abc.MetaPathFinder):
    """Refuses to find the blocked packages, wherever they are installed."""

    def __init__(self, blocked: Sequence[str]) -> None:
        self.blocked = frozenset(blocked)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"{fullname} is out of reach here", name=fullname)
        return


def importable(names: Sequence[str]) -> list[str]:
    """Those of `names` that can be imported here."""
    found = []
    for name in names:
        try:
            importlib.import_module(name)
            found.append(name)
        except ModuleNotFoundError:
            pass
    return found


def load_code(path: str) -> Any:
    """The module ``model.py`` from its path alone: the folder itself is not searched for imports."""
    spec = importlib.util.spec_from_file_location("exported_model", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count_macs(network: Any, images: Any) -> int:
    """Multiply-accumulates of one image, by hooks on what really ran."""
    import torch

    total = 0

    def count(layer: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        fan_in = layer.weight[0].numel()
        total += output[0].numel() * fan_in

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, kinds)]
    with torch.inference_mode():
        network(images[:1])
    for hook in hooks:
        hook.remove()
    return total


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the parent asked for; logits and decisions go to raw files in `folder`."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    code = load_code(request["code"])
    network = code.load(request["export"])
    images = torch.from_numpy(np.load(folder / "images.npy", allow_pickle=False))
    with torch.inference_mode():
        heads = network(images)
    heads = heads if isinstance(heads, tuple) else (heads,)
    np.save(folder / "logits.npy", np.stack([head.numpy() for head in heads]))
    for name, thresholds in request["decisions"].items():
        extra = {"thresholds": tuple(thresholds)} if thresholds else {}
        classes, taken = network.predict(images, **extra)
        np.save(folder / f"{name}.npy", np.stack([classes.numpy(), taken.numpy()]))
    return {
        "num_params": sum(parameter.numel() for parameter in network.parameters()),
        "macs": count_macs(network, images),
        "thresholds": list(getattr(code, "EXIT_THRESHOLDS", ())),
        "own_modules": sorted(m for m in sys.modules if m.partition(".")[0] in request["blocked"]),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text())
    sys.meta_path.insert(0, Wall(request["blocked"]))
    reached = importable(request["blocked"])
    result = {"reached": reached} if reached else {"reached": [], **answer(request, folder)}
    (folder / "answer.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
