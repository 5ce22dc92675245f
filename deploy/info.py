"""What an export says about itself beyond the architecture: figures, where they come from, and marks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

FigureSource = Literal["measured", "predicted", "estimated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyFigure:
    """An accuracy: share of images, 0-1, with its standard error; `name` says on which data and weights."""

    name: str
    value: float
    standard_error: float

    @classmethod
    def of(cls, name: str, value: float, count: int) -> AccuracyFigure:
        """Measured on `count` images."""
        return cls(name=name, value=value, standard_error=standard_error(value, count))


def standard_error(accuracy: float, count: int) -> float:
    """Of a share over `count` independent samples: √(a(1−a)/n)."""
    return math.sqrt(accuracy * (1 - accuracy) / count)


@dataclass(frozen=True, kw_only=True, slots=True)
class CostFigure:
    """A cost such as ``latency`` in ``ms``; `std` is one standard deviation in the same unit."""

    name: str
    value: float
    std: float
    unit: str
    source: FigureSource


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportInfo:
    """Figures and remarks for the README of an export.

    Attributes:
        pick: ``best``, ``knee``, ``fastest`` or a digest.
        device: name of the device that the costs are for.
        dataset: name of the data that the accuracies are for.
        accuracies: for the table, in order.
        costs: predicted or estimated ones, which are the same in every run of equal input.
        measurements: measured ones: they differ a little each time, so they go to ``measurements.json``.
        exit_shares: share of images that leave at each head, the final one last; () if unknown.
        marks: remarks that a reader must see, such as "picked after the test".
    """

    pick: str
    device: str
    dataset: str
    accuracies: tuple[AccuracyFigure, ...] = ()
    costs: tuple[CostFigure, ...] = ()
    measurements: tuple[CostFigure, ...] = ()
    exit_shares: tuple[float, ...] = ()
    marks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        noisy = [figure.name for figure in self.costs if figure.source == "measured"]
        if noisy:
            raise ValueError(f"measured costs {noisy} belong into `measurements`, not `costs`")
        others = [figure.name for figure in self.measurements if figure.source != "measured"]
        if others:
            raise ValueError(f"`measurements` holds measured costs only, got {others}")
