"""What other devices' measurements say about a new one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archspace import SearchSpace
from latency_models.choices.encoding import Choices, Floats
from latency_models.choices.model import fit_choice_model


def reference_weights(
    space: SearchSpace, choices: Choices, columns: Sequence[Floats], *, pool: Choices
) -> Floats:
    """(num_codes, devices): the weights of a model fitted to each reference device.

    A new device's cost is then, before anything else, a sum of these models' predictions; as they are smooth in
    the choices, no reference measurement of an architecture that is predicted is needed.

    Args:
        space: whose choices these are.
        choices: (architectures, decisions) indices.
        columns: a device each, (architectures,) costs; NaN where one was not measured.
        pool: see `fit_choice_model`.
    """
    weights = []
    for column in columns:
        known = np.isfinite(column)
        weights.append(fit_choice_model(space, choices[known], column[known], pool=pool).weights)
    return np.stack(weights, axis=1)
