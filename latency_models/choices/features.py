"""Standardised features of a space's architectures, with what is believed of them before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspace import SearchSpace
from latency_models.choices.encoding import ChoiceEncoding, Choices, Floats, summed

REFERENCES = "references"
"""Name of the group of features that other devices' models give."""
PRIOR_MEANS: Mapping[str, float] = {
    "counts": 0.0,
    "choices": -3.0,
    "live counts": -4.0,
    "live choices": -5.0,
    "live nodes": -5.0,
    "pairs": -6.0,
}
"""Mean of log v_g: that a cost is a sum over operations explains most of it, where they stand less, the rest little."""
PRIOR_NOISE = -3.0
_WITH_REFERENCES = -1.0
"""Added to the above where other devices' models, with mean 0, may explain most of it."""


@dataclass(frozen=True)
class Features:
    """Groups of features, each centred and scaled so that its squared norm is 1 in the mean over a pool.

    Attributes:
        encoding: architectures → codes.
        projections: group → (num_codes, features): what each code adds to each feature, scaled already.
        centres: group → (features,): means over the pool, scaled likewise.
    """

    encoding: ChoiceEncoding
    projections: Mapping[str, Floats]
    centres: Mapping[str, Floats]

    @classmethod
    def of(cls, space: SearchSpace, pool: Choices, references: Floats | None = None) -> Features:
        """The space's groups; `references`: (num_codes, devices) weights of models fitted to other devices."""
        encoding = ChoiceEncoding(space)
        raw = dict(encoding.groups)
        codes = encoding.codes(pool)
        if references is not None:
            values = summed(references, codes)
            raw = {REFERENCES: references / np.maximum(values.std(axis=0), 1e-12), **raw}
        projections, centres = {}, {}
        for name, projection in raw.items():
            values = summed(projection, codes)
            centre = values.mean(axis=0)
            norm = np.sqrt(np.mean(np.sum((values - centre) ** 2, axis=1)))
            if norm > 0:  # a choice that the pool never varies teaches nothing
                projections[name], centres[name] = projection / norm, centre / norm
        return cls(encoding, projections, centres)

    def values(self, codes: NDArray[np.intp]) -> dict[str, Floats]:
        """Group → (architectures, features)."""
        return {
            name: summed(projection, codes) - self.centres[name]
            for name, projection in self.projections.items()
        }

    def prior_means(self) -> dict[str, float]:
        """Group → mean of the logarithm of its variance."""
        shift = _WITH_REFERENCES if REFERENCES in self.projections else 0.0
        known = {name: PRIOR_MEANS[name] + shift for name in self.projections if name != REFERENCES}
        if shift and "counts" in known:
            known["counts"] = PRIOR_MEANS["counts"] - 3.0
        return {name: 0.0 if name == REFERENCES else known[name] for name in self.projections}
