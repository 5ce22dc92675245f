"""What limits on latency and energy are judged by: measuring on a device, or a model of its costs."""

from __future__ import annotations

from collections.abc import Sequence

from compress.deployed import deployed_file
from compress.figures import energies_mj, executed_network, measure_files
from compress.trained_model import TrainedModel
from latency_models import CostModel, Device, PrefixCosts


class MeasuredCosts:
    """Of the files that a device is given, interleaved in one process; energy is estimated where there is no counter.

    Args:
        device: `Device.here` with ONNX Runtime; its batch size is not used.
    """

    def __init__(self, device: Device) -> None:
        self._device = device

    def latencies_ms(self, models: Sequence[TrainedModel]) -> list[float]:
        """Of a call with one image, no exit taken."""
        files = [deployed_file(model) for model in models]
        return [row[0].value for row in measure_files(files, self._device, batch_sizes=(1,))]

    def energies_mj(self, models: Sequence[TrainedModel]) -> list[float]:
        """Of the same call."""
        files = [deployed_file(model) for model in models]
        return [cost.value for cost in energies_mj(files, self._device)]


class PredictedCosts:
    """Predicted for a device that need not be here.

    Args:
        model: of calls with one image; where models are quantised it must know INT8 (`docs/bits.md`).
    """

    def __init__(self, model: CostModel) -> None:
        self._model = model

    def latencies_ms(self, models: Sequence[TrainedModel]) -> list[float]:
        """Of a call with one image, no exit taken."""
        return [costs.latency_ms[-1].value for costs in self._predict(models)]

    def energies_mj(self, models: Sequence[TrainedModel]) -> list[float]:
        """Of the same call."""
        return [costs.energy_mj[-1].value for costs in self._predict(models)]

    def _predict(self, models: Sequence[TrainedModel]) -> list[PrefixCosts]:
        return self._model.predict([executed_network(deployed_file(each)) for each in models])
