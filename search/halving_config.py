"""Training children cheaply first: which rungs there are, and how many children climb them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from archspace import Shape
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


class HalvingConfig(BaseModel):
    """Asynchronous successive halving; see `search.halving`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rungs: tuple[RungConfig, ...] = Field(
        min_length=1, description="cheapest first; the full search schedule is the rung above them"
    )
    reduction: float = Field(
        3.0,
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


def rungs_of(
    config: HalvingConfig, full: Fidelity, images: Shape | None = None
) -> tuple[Fidelity, ...]:
    """All rungs, the full search fidelity last.

    Args:
        full: costs 1.
        images: shape of the data's; without it, reduced resolutions are taken as costing no less.

    Raises:
        ValueError: a rung asks for more than the full schedule, or does not cost more than the rung below it.
    """
    rungs = [_fidelity(rung, full, images) for rung in config.rungs]
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
