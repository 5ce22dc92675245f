"""Hard limits: what no exported network may exceed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from evaluation.results import NetworkCosts


class LimitsConfig(BaseModel):
    """Limits on the worst case (no sample leaves early); all optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_ms: float | None = Field(None, gt=0, description="milliseconds a call on the device")
    energy_mj: float | None = Field(None, gt=0, description="millijoules a call on the device")
    size_bytes: float | None = Field(None, gt=0, description="bytes of the stored weights")
    num_params: float | None = Field(None, gt=0, description="parameters, all heads")
    macs: float | None = Field(None, gt=0, description="multiply-accumulates, all heads")

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return any(value is not None for value in self.model_dump().values())


def violation(costs: NetworkCosts, limits: LimitsConfig) -> str:
    """The first limit that the network breaks, as ``"latency_ms 3.1 > 2"``; "" if it keeps all."""
    values = {
        "latency_ms": costs.latency_worst_ms.value,
        "energy_mj": costs.energy_worst_mj.value,
        "size_bytes": costs.size_bytes,
        "num_params": costs.num_params,
        "macs": costs.macs,
    }
    for name, value in values.items():
        limit: float | None = getattr(limits, name)
        if limit is not None and value > limit:
            return f"{name} {value:.6g} > {limit:.6g}"
    return ""
