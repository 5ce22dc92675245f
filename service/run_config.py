"""The run file as a whole: each part's own config, put together."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archspace import NasBench201SpaceConfig, StagedSpaceConfig
from child_models import DataConfig, TrainingConfig
from compress import ChildQuantiseConfig, CompressionPlan, DistilConfig
from evaluation import EvaluatorConfig, LimitsConfig, MinMaxConfig, ObjectiveConfig
from latency_models import DeviceConfig, ProfileConfig
from search import ScheduleConfig, SearchConfig, rungs_of

SpaceConfig = Annotated[StagedSpaceConfig | NasBench201SpaceConfig, Field(discriminator="kind")]


class MirrorConfig(BaseModel):
    """The copy of a run that Optuna's dashboard shows; never the source of truth."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(True, description="keep the mirror")


class TeachingConfig(BaseModel):
    """A teacher for all children of a search, and for the picks' full training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: str = Field(
        description="an exported folder, or weights with their architecture.json beside"
    )
    distillation: DistilConfig = Field(
        default_factory=DistilConfig, description="what is learnt from it"
    )


class RunConfig(BaseModel):
    """Everything a run depends on. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,50}$", description="names the run's folder")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the search, not of the children")
    data: DataConfig | None = Field(None, description="what children are trained on")
    space: SpaceConfig = Field(description="what may be chosen")
    device: DeviceConfig = Field(default_factory=DeviceConfig)
    profile: ProfileConfig = Field(default_factory=ProfileConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    objective: ObjectiveConfig = Field(default_factory=MinMaxConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    evaluator: EvaluatorConfig = Field(default_factory=EvaluatorConfig)
    mirror: MirrorConfig = Field(default_factory=MirrorConfig)
    teaching: TeachingConfig | None = Field(None, description="a teacher for all children")
    quantisation: ChildQuantiseConfig = Field(
        default_factory=ChildQuantiseConfig,
        description="how children get the bits that space.bits lets the search decide about",
    )
    compression: CompressionPlan | None = Field(
        None, description="what is done to the best network after the search"
    )

    @model_validator(mode="after")
    def _data_or_table(self) -> RunConfig:
        if self.evaluator.kind == "table":
            if self.space.kind != "nasbench201":
                raise ValueError("evaluator.kind table needs space.kind nasbench201")
        elif self.data is None:
            raise ValueError("data is missing: children need something to train on")
        return self

    @property
    def decides_bits(self) -> bool:
        """Whether networks of the space may run in INT8."""
        return isinstance(self.space, StagedSpaceConfig) and bool(self.space.integer_bits)

    @model_validator(mode="after")
    def _bits_can_be_executed(self) -> RunConfig:
        if not self.decides_bits:
            if self.quantisation != ChildQuantiseConfig():
                raise ValueError(
                    "quantisation: no network of this space runs in INT8; add space.bits, for example [32, 8, 4], or "
                    "leave quantisation out"
                )
            return self
        if (self.device.runtime, self.device.accelerator) != ("onnxruntime", "cpu"):
            raise ValueError(
                "space.bits: networks of 8 bits or fewer run in INT8, which needs device.runtime onnxruntime on a CPU"
            )
        if self.compression is not None:
            raise ValueError(
                "compression: the search decides about bits already; leave out space.bits, or compression"
            )
        return self

    @model_validator(mode="after")
    def _teaching_fits(self) -> RunConfig:
        if self.teaching is None:
            return self
        if self.data is None:
            raise ValueError("teaching: a run over a table trains nothing")
        halving = self.search.halving
        if halving is not None and any(rung.resolution is not None for rung in halving.rungs):
            raise ValueError(
                "teaching: the teacher reads images of one size; leave resolution out of the rungs"
            )
        if self.schedule.search_epochs < len(self.teaching.distillation.stages):
            raise ValueError("teaching.distillation: fewer search_epochs than stages")
        return self

    @model_validator(mode="after")
    def _compression_is_of_this_run(self) -> RunConfig:
        plan = self.compression
        if plan is None:
            return self
        if self.data is None:
            raise ValueError(
                "compression: a run over a table trains nothing that could be compressed"
            )
        if plan.data is not None or plan.device != DeviceConfig():
            raise ValueError("compression: data and device are the run's; leave them out there")
        return self

    @model_validator(mode="after")
    def _rungs_fit_the_schedule(self) -> RunConfig:
        if self.search.halving is None:
            return self
        if self.evaluator.kind == "table":
            raise ValueError("search.halving: a table knows one fidelity; leave halving out")
        if self.search.halving.supernet is not None and self.space.kind != "staged":
            raise ValueError("search.halving.supernet: needs space.kind staged")
        rungs_of(self.search.halving, self.schedule.search)
        return self
