"""Networks made ready to run on a device, one call at a time.

A runner does one whole call: it returns when the logits are there, so that what is timed is what a caller
waits for. Weights are random (costs do not depend on their values) and the input is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from archspace import Network
from latency_models.device import Device
from latency_models.errors import MeasuringFailed

Runner: TypeAlias = Callable[[], object]
"""Runs the network once on the device and waits for it."""
Loader: TypeAlias = Callable[[Network, Device], Runner]
"""Makes a runner. Raises MeasuringFailed."""


def load_runner(network: Network, device: Device) -> Runner:
    """A runner with `device`'s runtime.

    Raises:
        MeasuringFailed: the network cannot be built or does not run.
    """
    if device.runtime == "external":
        raise MeasuringFailed(f"{device.name} is not here: its figures were imported")
    load = _load_onnxruntime if device.runtime == "onnxruntime" else _load_torch
    try:
        runner = load(network, device)
        runner()
    except Exception as error:
        raise MeasuringFailed(
            f"network {network.digest} does not run with {device.runtime}: {error}"
        ) from error
    return runner


@contextmanager
def runtime_threads(device: Device) -> Iterator[None]:
    """Torch's thread count is the process's: set to the device's, and put back afterwards."""
    if device.runtime != "torch":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(device.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fixed_input(network: Network, batch_size: int) -> NDArray[np.float32]:
    """The images that every measurement uses: standard normal, (batch, channels, height, width)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch_size, *network.input_shape), dtype=np.float32)


def _load_onnxruntime(network: Network, device: Device) -> Runner:
    from child_models import build_for_measuring

    model = build_for_measuring(network, batch=device.batch_size)
    return onnx_runner(model.SerializeToString(), fixed_input(network, device.batch_size), device)


def onnx_runner(model: bytes, images: NDArray[np.float32], device: Device) -> Runner:
    """A session with default graph optimisations; the call is the usual ``session.run``, its own cost included.

    Args:
        model: an ONNX file with one input.
        images: what each call reads.

    Raises:
        MeasuringFailed: `device` asks for a GPU and ONNX Runtime does not use it. Its own errors pass through.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # many sessions are alive while networks are compared: none may spin while another one runs
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = ["CPUExecutionProvider"]
    if device.accelerator == "cuda":
        providers = ["CUDAExecutionProvider", *providers]
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    if device.accelerator == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise MeasuringFailed("ONNX Runtime fell back to the CPU: its CUDA libraries do not load")
    feed = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, feed)  # copies logits to the host, so it waits for a GPU


def _load_torch(network: Network, device: Device) -> Runner:
    """The eager module under inference mode; on a GPU each call ends with a synchronisation."""
    import torch

    from child_models import build_module

    if network.is_int8:
        raise MeasuringFailed("torch has no INT8 kernels here; use the runtime onnxruntime")
    # measuring may not disturb the seeds of whoever measures
    state = torch.get_rng_state()
    module = build_module(network).eval().to(device.accelerator)
    torch.set_rng_state(state)
    images = torch.from_numpy(fixed_input(network, device.batch_size)).to(device.accelerator)
    if device.accelerator == "cpu":

        @torch.inference_mode()
        def run_cpu() -> None:
            module(images)

        return run_cpu

    @torch.inference_mode()
    def run_cuda() -> None:
        module(images)
        torch.cuda.synchronize()

    return run_cuda
