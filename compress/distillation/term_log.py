"""What each term of a distillation did, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from compress.distillation.config import Term


@dataclass(frozen=True, kw_only=True, slots=True)
class TermLog:
    """One term in one epoch.

    Attributes:
        term: its name.
        weight: in the loss, mean over the epoch's steps.
        size: of the term without its weight, mean over the steps where it was finite; NaN if there were none.
        gradient_norm: Euclidean, of the term without its weight with respect to all parameters of the student (adapters
            left out), on the epoch's first batch.
    """

    term: Term
    weight: float
    size: float
    gradient_norm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochLog:
    """One epoch: `epoch` and `stage` count from 0, `temperature` is that of the first step; terms of weight 0 are left out."""

    epoch: int
    stage: int
    temperature: float
    terms: tuple[TermLog, ...]

    def size(self, term: Term) -> float:
        """Of a term; NaN where it did not count."""
        return next((log.size for log in self.terms if log.term == term), math.nan)


@dataclass(slots=True)
class _Sums:
    """Of one term. Tensors, so that a GPU is not waited for in each step."""

    gradient_norm: float
    weight: float = 0.0
    steps: int = 0
    size: Tensor = field(default_factory=lambda: torch.zeros(()))
    finite: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, weight: float, value: Tensor) -> None:
        finite = torch.isfinite(value)
        self.weight += weight
        self.steps += 1
        self.size = self.size.to(value) + torch.where(finite, value, torch.zeros_like(value))
        self.finite = self.finite.to(value) + finite

    def log(self, term: Term) -> TermLog:
        finite = float(self.finite)
        return TermLog(
            term=term,
            weight=self.weight / self.steps,
            size=float(self.size) / finite if finite else math.nan,
            gradient_norm=self.gradient_norm,
        )


class TermRecorder:
    """Gathers the terms of each step.

    Args:
        parameters: of the student; gradients are taken with respect to them once an epoch.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._finished: list[EpochLog] = []
        self._current: tuple[int, int, float] | None = None  # epoch, stage, temperature
        self._sums: dict[Term, _Sums] = {}

    def add(
        self,
        place: tuple[int, int],
        temperature: float,
        weights: Mapping[Term, float],
        values: Mapping[Term, Tensor],
    ) -> None:
        """One step: the epoch and stage it belongs to, and the terms that counted in it."""
        if self._current is None or self._current[0] != place[0]:
            self._finish()
            self._current = (*place, temperature)
        for term, value in values.items():
            if term not in self._sums:
                self._sums[term] = _Sums(gradient_norm(value, self._parameters))
            self._sums[term].add(weights[term], value.detach())

    def logs(self) -> tuple[EpochLog, ...]:
        """All epochs so far."""
        self._finish()
        return tuple(self._finished)

    def _finish(self) -> None:
        if self._current is not None:
            epoch, stage, temperature = self._current
            terms = tuple(sums.log(term) for term, sums in self._sums.items())
            self._finished.append(
                EpochLog(epoch=epoch, stage=stage, temperature=temperature, terms=terms)
            )
        self._current, self._sums = None, {}


def gradient_norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    """Euclidean norm of the gradient of `value` with respect to `parameters`; the graph stays."""
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
    return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0
