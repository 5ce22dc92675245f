"""Models of accuracy, learnt from the children evaluated so far."""

from search.surrogates.accuracy import LEAST_CHILDREN, AccuracySurrogate
from search.surrogates.features import ArchitectureFeatures
from search.surrogates.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    Learner,
    Posterior,
)

__all__ = [
    "LEAST_CHILDREN",
    "AccuracySurrogate",
    "ArchitectureFeatures",
    "GaussianProcess",
    "Hyperparameters",
    "Learner",
    "Posterior",
]
