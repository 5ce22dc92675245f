"""Optuna's TPE (Bergstra et al., NeurIPS 2011) and NSGA-II (Deb et al., 2002) as controls, through ask and tell."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, LedgerSession, SpaceExhausted
from search.strategies._novelty import PATIENCE, Novelty
from search.strategy import Strategy

if TYPE_CHECKING:
    import optuna

_log = logging.getLogger(__name__)


class TPEConfig(BaseModel):
    """Settings of `TPESearch`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["tpe"] = "tpe"
    startup: int = Field(10, ge=1, description="random architectures before the first model")
    batch_size: int = Field(4, ge=1, description="architectures asked for before any is told")


class NSGA2Config(BaseModel):
    """Settings of `NSGA2Search`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["nsga2"] = "nsga2"
    population: int = Field(20, ge=2, description="architectures of one generation")
    batch_size: int = Field(4, ge=1, description="architectures asked for before any is told")


class _OptunaStrategy(Strategy):
    """Ask, evaluate, tell, over a study in memory.

    Each decision is a categorical parameter. Only valid choices are suggested: Optuna fixes a parameter's
    choices, so a decision under another mask is another parameter (``stage1.layer0.keep|0,1``), and one
    with a single valid choice is not asked for at all.

    An architecture that this session asked for already is told as failed, which Optuna's samplers leave
    out, and another is asked for.
    """

    _batch_size: int

    def search(self, session: LedgerSession) -> None:
        import optuna

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._ask_and_tell(session, self._study())
        finally:
            optuna.logging.set_verbosity(before)

    def _ask_and_tell(self, session: LedgerSession, study: optuna.Study) -> None:
        novelty = Novelty(self.space)
        while True:
            trials, batch = self._ask(study, novelty)
            evaluations = session.evaluate(batch)
            for trial, evaluation in zip(trials, evaluations, strict=True):
                self._tell(study, trial, evaluation)

    def _ask(
        self, study: optuna.Study, novelty: Novelty
    ) -> tuple[list[optuna.Trial], list[Choices]]:
        trials: list[optuna.Trial] = []
        batch: list[Choices] = []
        known = 0
        while len(batch) < self._batch_size and known < PATIENCE:
            trial = study.ask()
            choices = self._suggest(trial)
            if novelty.is_new(choices):
                novelty.add(choices)
                trials.append(trial)
                batch.append(choices)
                known = 0
            else:
                _tell_failed(study, trial)
                known += 1
        if not batch:
            raise SpaceExhausted(f"{PATIENCE} suggestions in a row were known already")
        return trials, batch

    def _suggest(self, trial: optuna.Trial) -> Choices:
        def pick(prefix: Choices, valid: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> int:
            if len(valid) == 1:
                return int(valid[0])
            decision = self.space.decisions[len(prefix)]
            indices = [int(index) for index in valid]
            name = decision.name
            if len(indices) < len(decision.choices):
                name += "|" + ",".join(map(str, indices))
            return int(trial.suggest_categorical(name, indices))

        return self.space.complete((), pick)

    def _tell(self, study: optuna.Study, trial: optuna.Trial, evaluation: Evaluation) -> None:
        values = self._values(evaluation)
        if values is None:
            _tell_failed(study, trial)
        else:
            study.tell(trial, list(values))

    @abstractmethod
    def _study(self) -> optuna.Study:
        """A new study in memory."""

    @abstractmethod
    def _values(self, evaluation: Evaluation) -> Sequence[float] | None:
        """What the study optimises; None for a failed trial."""


def _tell_failed(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)


class TPESearch(_OptunaStrategy):
    """The tree-structured Parzen estimator over the reward; failed children count as its lowest value."""

    name: ClassVar[str] = "tpe"

    def __init__(self, config: TPEConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(bounds, seed)
        self._config = config
        self._batch_size = config.batch_size

    def _study(self) -> optuna.Study:
        import optuna

        sampler = optuna.samplers.TPESampler(
            n_startup_trials=self._config.startup, seed=self.seed % 2**32
        )
        return optuna.create_study(direction="maximize", sampler=sampler)

    def _values(self, evaluation: Evaluation) -> Sequence[float]:
        return (evaluation.reward,)


class NSGA2Search(_OptunaStrategy):
    """The genetic algorithm over accuracy and expected latency; the reward is not used.

    Failed and rejected proposals, and rows of a table without a latency, are told as failed.
    """

    name: ClassVar[str] = "nsga2"

    def __init__(self, config: NSGA2Config, bounds: CostBounds, seed: int) -> None:
        super().__init__(bounds, seed)
        self._config = config
        self._batch_size = config.batch_size

    def _study(self) -> optuna.Study:
        import optuna

        sampler = optuna.samplers.NSGAIISampler(
            population_size=self._config.population, seed=self.seed % 2**32
        )
        return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

    def _values(self, evaluation: Evaluation) -> Sequence[float] | None:
        if not evaluation.ok or evaluation.costs is None:
            return None
        return evaluation.accuracy, evaluation.costs.latency_ms.value
