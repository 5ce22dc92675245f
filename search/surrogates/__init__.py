"""Models of accuracy, learnt from the children evaluated so far."""

from search.surrogates.accuracy import LEAST_CHILDREN, MOST_FOR_ONE_PROCESS, AccuracySurrogate
from search.surrogates.cost_correction import CorrectedCosts, CostCorrection
from search.surrogates.ensemble import Ensemble
from search.surrogates.features import ArchitectureFeatures
from search.surrogates.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    Learner,
    Posterior,
)
from search.surrogates.rungs import RungResult, RungSurrogate

__all__ = [
    "LEAST_CHILDREN",
    "MOST_FOR_ONE_PROCESS",
    "AccuracySurrogate",
    "ArchitectureFeatures",
    "CorrectedCosts",
    "CostCorrection",
    "Ensemble",
    "GaussianProcess",
    "Hyperparameters",
    "Learner",
    "Posterior",
    "RungResult",
    "RungSurrogate",
]
