"""Optuna's TPE (Bergstra et al., NeurIPS 2011) and NSGA-II (Deb et al., 2002) as controls, through ask and tell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, LedgerSession, SpaceExhausted
from search.strategies._novelty import Novelty
from search.strategy import Strategy

if TYPE_CHECKING:
    import optuna

    _Asked = tuple[optuna.Trial, Choices]

SUGGESTION_TRIES = 20


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
    out, and another is asked for; after 20 of them in a row a random new one is put into the study's queue.
    """

    _batch_size: int
    _rng: np.random.Generator

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
        self._rng = np.random.default_rng(self.seed)
        while True:
            asked = self._ask_up_to(self._batch_size, study, novelty)
            evaluations = session.evaluate([choices for _, choices in asked])
            for (trial, _), evaluation in zip(asked, evaluations, strict=True):
                self._tell(study, trial, evaluation)

    def _ask_up_to(self, count: int, study: optuna.Study, novelty: Novelty) -> list[_Asked]:
        asked: list[_Asked] = []
        try:
            while len(asked) < count:
                asked.append(self._ask(study, novelty))
        except SpaceExhausted:
            if not asked:
                raise
        return asked

    def _ask(self, study: optuna.Study, novelty: Novelty) -> _Asked:
        """A trial and the new architecture that it stands for. Raises SpaceExhausted."""
        for _ in range(SUGGESTION_TRIES):
            trial = study.ask()
            choices = self._suggest(trial)
            if novelty.is_new(choices):
                novelty.add(choices)
                return trial, choices
            _tell_failed(study, trial)
        (drawn,) = novelty.take_up_to(1, lambda: self.space.sample(self._rng))
        study.enqueue_trial(self._parameters(drawn))
        trial = study.ask()
        assert self._suggest(trial) == drawn, "a queued trial was not suggested as it is"
        return trial, drawn

    def _suggest(self, trial: optuna.Trial) -> Choices:
        """Ask for each open decision in turn."""

        def pick(prefix: Choices, valid: NDArray[np.intp]) -> int:
            if len(valid) == 1:
                return int(valid[0])
            name, indices = self._parameter(prefix, valid)
            return int(trial.suggest_categorical(name, indices))

        return self.space.complete((), pick)

    def _parameter(self, prefix: Choices, valid: NDArray[np.intp]) -> tuple[str, list[int]]:
        decision = self.space.decisions[len(prefix)]
        indices = [int(index) for index in valid]
        name = decision.name
        if len(indices) < len(decision.choices):
            name += "|" + ",".join(map(str, indices))
        return name, indices

    def _parameters(self, choices: Choices) -> dict[str, int]:
        """`choices` as Optuna's parameters."""
        parameters: dict[str, int] = {}
        for position, choice in enumerate(choices):
            valid = np.flatnonzero(self.space.mask(choices[:position]))
            if len(valid) > 1:
                parameters[self._parameter(choices[:position], valid)[0]] = choice
        return parameters

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
