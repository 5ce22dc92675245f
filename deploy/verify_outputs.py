"""The checks that run the network: in a clean process, in ONNX Runtime, and as our own module."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import ArchitectureDocument, Network
from child_models import apply_exits, build_module, normalised_entropy, onnx_output_names
from deploy import files
from deploy.errors import BrokenExport
from deploy.model_source import model_code

TOLERANCE = 1e-4
"""Outputs a and b agree if |a - b| ≤ TOLERANCE · max |b| + 10⁻⁶."""
BLOCKED = (
    "archspace",
    "child_models",
    "deploy",
    "latency_models",
    "compress",
    "evaluation",
    "envs",
    "search",
    "service",
)
"""Netlathe's packages, which the clean process must not reach."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came back from the clean process, beside ONNX Runtime's word on the same images.

    Attributes:
        reached: those of our packages that it could import: must be empty.
        own_modules: modules of ours that it had loaded: must be empty.
        num_params, macs, thresholds: as it counted and read them.
        images: (N, C, H, W) float32.
        logits, onnx_logits: (heads, N, classes) float32.
        decisions: name → (thresholds, classes (N,), heads (N,)).
    """

    reached: tuple[str, ...]
    own_modules: tuple[str, ...]
    num_params: int
    macs: int
    thresholds: tuple[float, ...]
    images: Array
    logits: Array
    onnx_logits: Array
    decisions: dict[str, tuple[tuple[float, ...], Array, Array]]


def rebuild(directory: Path, document: ArchitectureDocument, timeout_s: float) -> Rebuilt:
    """Run ONNX Runtime here and ``model.py`` in a clean process, on the same random images.

    Raises:
        BrokenExport: either of them fails; the message has its last words.
    """
    network = document.network
    images = probe_images(network)
    onnx_logits = run_onnx(directory, network, images)
    exported = tuple(float(exit_.threshold or 0.0) for exit_ in network.exits)
    # Random images may all be sure or all unsure: at the medians, half of them leave at each exit. Below
    # 10⁻⁴, entropies are mostly rounding.
    medians = tuple(
        max(float(np.median(normalised_entropy(head))), 1e-4) for head in onnx_logits[:-1]
    )
    thresholds = {"exported": exported, "median": medians}
    with tempfile.TemporaryDirectory(prefix="netlathe-verify-") as name:
        folder = Path(name)
        # The text that was checked is the text that runs, whatever happens to the file meanwhile.
        (folder / "checked_model.py").write_text(model_code(document), encoding="utf-8")
        np.save(folder / "images.npy", images)
        request = {
            "code": str(folder / "checked_model.py"),
            "export": str(directory.absolute()),
            "blocked": BLOCKED,
            "decisions": thresholds,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _run_clean(folder, timeout_s)
        return _read_answer(folder, images, onnx_logits, thresholds)


def probe_images(network: Network) -> Array:
    """Normally distributed images, the same each time: 8 to 64, fewer where they are large."""
    number = int(np.clip((1 << 20) // prod(network.input_shape), 8, 64))
    rng = np.random.default_rng(0)
    return rng.standard_normal((number, *network.input_shape), dtype=np.float32)


def _run_clean(folder: Path, timeout_s: float) -> None:
    script = Path(__file__).with_name("clean_process.py").read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-c", script, str(folder)]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BrokenExport(f"the clean process took longer than {timeout_s:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BrokenExport(f"the clean process failed ({done.returncode}): {last}")


def _read_answer(
    folder: Path, images: Array, onnx_logits: Array, thresholds: dict[str, tuple[float, ...]]
) -> Rebuilt:
    answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    if answer["reached"]:
        raise BrokenExport(f"the clean process could import {answer['reached']}")
    decisions = {}
    for name, values in thresholds.items():
        classes, heads = np.load(folder / f"{name}.npy", allow_pickle=False)
        decisions[name] = (values, classes, heads)
    return Rebuilt(
        reached=tuple(answer["reached"]),
        own_modules=tuple(answer["own_modules"]),
        num_params=answer["num_params"],
        macs=answer["macs"],
        thresholds=tuple(answer["thresholds"]),
        images=images,
        logits=np.load(folder / "logits.npy", allow_pickle=False),
        onnx_logits=onnx_logits,
        decisions=decisions,
    )


def run_onnx(directory: Path, network: Network, images: Array, name: str = files.ONNX) -> Array:
    """Logits of all heads, (heads, N, classes); once as a batch, once alone for the first image. Raises BrokenExport."""
    import onnxruntime

    names = list(onnx_output_names(network))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            (directory / name).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        batch = np.stack(session.run(names, {"image": images}))
        alone = np.stack(session.run(names, {"image": images[:1]}))
    except Exception as error:  # ONNX Runtime's error classes have no common public base
        raise BrokenExport(f"{name} does not run in ONNX Runtime: {error}") from error
    _compare("one image alone", alone, "the same image in a batch", batch[:, :1])
    return batch


def check_isolation(rebuilt: Rebuilt) -> str:
    """The clean process neither could import nor had loaded anything of ours."""
    if rebuilt.reached or rebuilt.own_modules:
        raise BrokenExport(f"it had {(*rebuilt.reached, *rebuilt.own_modules)}")
    return f"rebuilt; none of {', '.join(BLOCKED)} can be imported there"


def check_counts(rebuilt: Rebuilt, document: ArchitectureDocument) -> str:
    """What the rebuilt network holds and does is what ``architecture.json`` says."""
    found = (rebuilt.num_params, rebuilt.macs)
    if found != (document.num_params, document.macs):
        raise BrokenExport(
            f"rebuilt: {found[0]:,} parameters and {found[1]:,} MACs; {files.ARCHITECTURE} says "
            f"{document.num_params:,} and {document.macs:,}"
        )
    return f"{found[0]:,} parameters, {found[1]:,} MACs"


def check_outputs(rebuilt: Rebuilt, document: ArchitectureDocument, directory: Path) -> str:
    """Same logits from ``model.py``, ONNX Runtime and our own module, within TOLERANCE."""
    own = _run_own(document.network, directory, rebuilt.images)
    gaps = (
        _compare(files.CODE, rebuilt.logits, files.ONNX, rebuilt.onnx_logits),
        _compare(files.CODE, rebuilt.logits, "our own build", own),
    )
    number, heads = len(rebuilt.images), len(own)
    return (
        f"{number} images, {heads} head{'s' if heads > 1 else ''}: largest difference to ONNX Runtime "
        f"{gaps[0]:.1e}, to our own build {gaps[1]:.1e} (allowed {_allowed(own):.1e})"
    )


def _run_own(network: Network, directory: Path, images: Array) -> Array:
    import torch

    module = build_module(network)
    weights = files.read_weights(directory)
    module.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    with torch.inference_mode():
        heads = module.eval()(torch.from_numpy(images))
    return np.stack([head.numpy() for head in heads])


def _compare(name: str, values: Array, other: str, reference: Array) -> float:
    """Largest difference. Raises BrokenExport where it is above the tolerance."""
    if values.shape != reference.shape:
        raise BrokenExport(f"{name} gives {values.shape}, {other} {reference.shape}")
    gap = float(np.abs(values - reference).max())
    allowed = _allowed(reference)
    if not gap <= allowed:  # NaN fails, too
        raise BrokenExport(f"{name} and {other} differ by {gap:.2e}; {allowed:.2e} is allowed")
    return gap


def _allowed(reference: Array) -> float:
    """Relative to the largest logit, so that networks with small ones are held to as much."""
    return TOLERANCE * float(np.abs(reference).max()) + 1e-6


def check_exits(rebuilt: Rebuilt, document: ArchitectureDocument) -> str:
    """Thresholds are those of ``architecture.json``, and each image leaves where they say."""
    exits = document.network.exits
    expected = tuple(exit_.threshold for exit_ in exits)
    if rebuilt.thresholds != expected:
        raise BrokenExport(f"{files.CODE} has thresholds {rebuilt.thresholds}, expected {expected}")
    if not exits:
        return "none"
    # What rounding really did to these logits; never more than `check_outputs` lets pass.
    gap = float(np.abs(rebuilt.logits - rebuilt.onnx_logits).max())
    delta = min(2 * gap, _allowed(rebuilt.onnx_logits))
    lines = []
    for name, (thresholds, classes, heads) in rebuilt.decisions.items():
        clear = ~_too_close(rebuilt.onnx_logits, thresholds, delta)
        wanted_classes, wanted_heads = apply_exits(list(rebuilt.onnx_logits), thresholds)
        wrong = clear & ((classes != wanted_classes) | (heads != wanted_heads))
        if wrong.any():
            raise BrokenExport(
                f"{int(wrong.sum())} of {len(clear)} images leave elsewhere in {files.CODE} than by "
                f"{files.ONNX}'s logits at the {name} thresholds"
            )
        left = int((heads < len(thresholds)).sum())
        lines.append(
            f"at the {name} thresholds {left} of {len(clear)} random images leave early, "
            f"{int(clear.sum())} decisions equal, {int((~clear).sum())} too close to call"
        )
    return "; ".join(lines)


def _too_close(logits: Array, thresholds: Sequence[float], delta: float) -> NDArray[np.bool_]:
    """Images whose exit or class a change of each logit by `delta` could change, (N,).

    Such a change moves the entropy H by at most 2·H·δ to first order (∂H/∂z_i = -p_i (log p_i + H), and
    Σ p_i |log p_i| = H); twice that, and float32's own rounding.
    """
    close = np.zeros(logits.shape[1], dtype=bool)
    for head, threshold in zip(logits, thresholds, strict=False):
        entropy = normalised_entropy(head)
        if threshold == 0:  # switched off: no entropy is that low
            continue
        close |= np.abs(entropy - threshold) <= 4 * delta * entropy + 1e-6
    for head in logits:
        top = np.sort(head, axis=1)
        close |= top[:, -1] - top[:, -2] <= 2 * delta
    return close
