"""Training children cheaply first: which rungs there are, and how many children climb them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from archspace import Shape
from child_models.supernet.config import SupernetConfig
from evaluation import Fidelity


class RungConfig(BaseModel):
    """One reduced fidelity. What is not given is as in the full search schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int | None = Field(None, ge=1, description="null: schedule.search_epochs")
    data_fraction: float = Field(
        1.0, gt=0, le=1, description="share of each class's training images"
    )
    resolution: int | None = Field(
        None, ge=1, description="height in pixels that images are scaled down to; null: as they are"
    )
    cost: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="what a child costs (in full: 1); null: epochs · data_fraction · (resolution/height)², "
        "relative to the full search schedule",
    )


class SupernetRungConfig(BaseModel):
    """The rung below all others: children inherit weights that all networks share, and are not trained at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: SupernetConfig = Field(
        default_factory=SupernetConfig, description="how the shared weights are trained"
    )
    cost: float = Field(0.02, gt=0, lt=1, description="what a child costs there (in full: 1)")
    probes: int = Field(
        12,
        ge=5,
        le=1_000,
        description="first children, evaluated with shared weights and in full: they decide whether the rung is used",
    )
    reduction: float = Field(
        10.0, gt=1, le=1_000, description="one in so many children is trained at the next rung"
    )
    least_correlation: float = Field(
        0.4,
        ge=-1,
        le=1,
        description="rank correlation (Spearman) over the probes below which the rung is left out",
    )


class HalvingConfig(BaseModel):
    """Asynchronous successive halving; see `search.halving`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    supernet: SupernetRungConfig | None = Field(
        None, description="a rung of shared weights below the others; null: none"
    )
    rungs: tuple[RungConfig, ...] = Field(
        (), description="cheapest first; the full search schedule is the rung above them"
    )
    reduction: float = Field(
        8.0,
        gt=1,
        le=100,
        description="one in so many children of a rung is trained at the next one",
    )
    window: int = Field(
        8,
        ge=1,
        le=10_000,
        description="children under way at a time, in order of proposal: at least the number of workers, "
        "better twice as many. Decides what is proposed, so it is a setting, not the number of workers",
    )

    @property
    def reductions(self) -> tuple[float, ...]:
        """η of each rung but the full one, cheapest first."""
        first = () if self.supernet is None else (self.supernet.reduction,)
        return (*first, *(self.reduction for _ in self.rungs))

    @model_validator(mode="after")
    def _has_a_rung(self) -> HalvingConfig:
        if not self.rungs and self.supernet is None:
            raise ValueError(
                "search.halving: expected a supernet or at least one of rungs, for example {epochs: 2}"
            )
        return self


def rungs_of(
    config: HalvingConfig,
    full: Fidelity,
    images: Shape | None = None,
    supernet: str = "not trained yet",
) -> tuple[Fidelity, ...]:
    """All rungs, the full search fidelity last.

    Args:
        full: costs 1.
        images: shape of the data's; without it, reduced resolutions are taken as costing no less.
        supernet: digest of the shared weights, where there is a rung of those.

    Raises:
        ValueError: a rung asks for more than the full schedule, or does not cost more than the rung below it.
    """
    rungs = [_fidelity(rung, full, images) for rung in config.rungs]
    if config.supernet is not None:
        cost = config.supernet.cost
        rungs.insert(0, Fidelity(name="supernet", epochs=1, cost=cost, supernet=supernet))
    for lower, upper in zip([None, *rungs], [*rungs, full], strict=True):
        if lower is not None and images is not None and lower.cost >= upper.cost:
            raise ValueError(
                f"search.halving.rungs: each must cost more than the one before it, up to 1 for the full search "
                f"schedule; {lower.name} costs {lower.cost:g}, {upper.name} after it {upper.cost:g}"
            )
    names = [rung.name for rung in rungs]
    if len(set(names)) < len(names):
        raise ValueError(f"search.halving.rungs: two are the same ({', '.join(names)})")
    return (*rungs, full)


def cost_of_one_in_full(config: HalvingConfig, rungs: Sequence[Fidelity]) -> float:
    """What a search pays for each child that is trained in full, those that did not climb included.

    Args:
        rungs: as `rungs_of` makes them.
    """
    total, children = rungs[-1].cost, 1.0
    for rung, reduction in zip(reversed(rungs[:-1]), reversed(config.reductions), strict=True):
        children *= reduction
        total += children * rung.cost
    return total


def _fidelity(rung: RungConfig, full: Fidelity, images: Shape | None) -> Fidelity:
    epochs = rung.epochs or full.epochs
    if epochs > full.epochs:
        raise ValueError(
            f"search.halving.rungs: {epochs} epochs are more than schedule.search_epochs, {full.epochs}"
        )
    name, share = f"epochs{epochs}", epochs / full.epochs * rung.data_fraction
    if rung.data_fraction < 1:
        name += f"-data{rung.data_fraction:g}"
    if rung.resolution is not None:
        name += f"-{rung.resolution}px"
        if images is not None:
            share *= (rung.resolution / images.height) ** 2
    return Fidelity(
        name=name,
        epochs=epochs,
        data_fraction=rung.data_fraction,
        resolution=rung.resolution,
        cost=share if rung.cost is None else rung.cost,
    )
