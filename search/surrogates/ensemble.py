"""An ensemble for more children than one Gaussian process can learn from: small processes, and trees for the rest.

Each of the 8 processes learns from its own 512 children at most (`GaussianProcess`: smooth, so it generalises early); 6
extremely randomised trees (Geurts, Ernst and Wehenkel 2006) then learn what it got wrong on all the others, which is
what many children are good for. A member is one process plus one of its trees. Time grows with n · log n, not n³.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from search.surrogates.gaussian_process import GaussianProcess, Learner, Posterior

Floats = NDArray[np.float64]

PROCESSES = 8
TREES = 6
"""Trees a process."""
MOST_FOR_A_PROCESS = 512
_SHARE_OF_FEATURES = 0.33
"""How many features a tree tries at each node."""


class Ensemble:
    """Predictions of 48 members, their spread, and what they say of data that they have not seen.

    Args:
        features: group → (n, features of the group); n ≥ 4.
        targets: (n,), about standardised.
        learner: gives the processes' hyperparameters, and learns them where it has none or few data behind them.
        seed: which member learns from which data.
    """

    def __init__(
        self, features: Mapping[str, Floats], targets: Floats, *, learner: Learner, seed: int
    ) -> None:
        self.targets = np.asarray(targets, dtype=np.float64)
        count = len(self.targets)
        size = min(MOST_FOR_A_PROCESS, count // 2)
        # cut from one shuffled row that is repeated: each datum is learnt from by about as many processes
        shuffled = np.tile(np.random.default_rng(seed).permutation(count), PROCESSES)
        self._parts = [
            _Part(features, self.targets, shuffled[i * size :][:size], learner, seed=i)
            for i in range(PROCESSES)
        ]
        self._noise = self._parts[0].process.noise

    def predict(self, features: Mapping[str, Floats]) -> Posterior:
        """The members' mean and variance at m architectures.

        Members are points without a variance of their own, so that the law of total variance leaves their spread. Two
        architectures covary as far as the trees put them into the same leaves (a forest's kernel: Davies and
        Ghahramani 2014): k(i, j) = std_i · std_j · share of trees. `Posterior.take` conditions on it as on a Gaussian
        process's. Trees have no such formula of their own: refitting them would be another random draw.
        """
        together = _columns(features)
        by_part = [part.leaves(together) for part in self._parts]
        values = np.concatenate(
            [
                part.process.mean(features) + part.values(leaves)
                for part, leaves in zip(self._parts, by_part, strict=True)
            ]
        )
        leaves = np.concatenate(by_part)
        variance = np.maximum(values.var(axis=0), 1e-12)
        std = np.sqrt(variance)

        def covariance_with(i: int) -> Floats:
            return np.asarray(std * std[i] * (leaves == leaves[:, [i]]).mean(axis=0))

        return Posterior(
            mean=values.mean(axis=0),
            variance=variance,
            noise=self._noise,
            covariance_with=covariance_with,
        )

    def left_out(self) -> tuple[Floats, Floats]:
        """Prediction of each datum by the members that saw it nowhere: (mean, standard deviation with noise), (n,) each.

        A datum that all members saw, which is rare, gets the mean of all data.
        """
        values = np.concatenate([part.left_out for part in self._parts])
        unseen = ~np.isnan(values)
        counts = np.maximum(unseen.sum(axis=0), 1)
        mean = np.where(unseen, values, 0.0).sum(axis=0) / counts
        squares = np.where(unseen, (values - mean) ** 2, 0.0).sum(axis=0)
        return mean, np.sqrt(squares / counts + self._noise)


Model = GaussianProcess | Ensemble


def fitted_model(
    features: Mapping[str, Floats],
    targets: Floats,
    *,
    learner: Learner,
    most_for_one_process: int,
    seed: int,
) -> Model:
    """One Gaussian process up to so many data, an ensemble beyond."""
    if len(targets) <= most_for_one_process:
        return learner.fit(features, targets)
    return Ensemble(features, targets, learner=learner, seed=seed)


class _Part:
    """One process, and its trees.

    Attributes:
        process: learnt from `rows`.
        left_out: (trees, n) predictions; NaN where the process or the tree learnt from the datum.
    """

    def __init__(
        self,
        features: Mapping[str, Floats],
        targets: Floats,
        rows: NDArray[np.intp],
        learner: Learner,
        seed: int,
    ) -> None:
        self.process: GaussianProcess = learner.fit(
            {name: values[rows] for name, values in features.items()}, targets[rows]
        )
        others = np.setdiff1d(np.arange(len(targets)), rows)
        smooth = self.process.mean({name: values[others] for name, values in features.items()})
        rest = _columns(features)[others]
        self._forest = ExtraTreesRegressor(
            TREES, max_features=_SHARE_OF_FEATURES, bootstrap=True, random_state=seed
        ).fit(rest, targets[others] - smooth)
        own = smooth + self.values(self.leaves(rest))
        for values, drawn in zip(own, self._forest.estimators_samples_, strict=True):
            values[drawn] = np.nan
        self.left_out = np.full((TREES, len(targets)), np.nan)
        self.left_out[:, others] = own

    def leaves(self, together: Floats) -> NDArray[np.intp]:
        """(trees, m): the leaf that each architecture falls into."""
        return np.asarray(self._forest.apply(together)).T

    def values(self, leaves: NDArray[np.intp]) -> Floats:
        """(trees, m): what each tree adds to the process's mean."""
        trees = zip(self._forest.estimators_, leaves, strict=True)
        return np.stack([tree.tree_.value[leaf, 0, 0] for tree, leaf in trees])


def _columns(features: Mapping[str, Floats]) -> Floats:
    """(m, all features) of all groups."""
    return np.concatenate(list(features.values()), axis=1).astype(np.float32)
