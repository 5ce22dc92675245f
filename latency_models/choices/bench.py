"""How well a device is learnt from few measurements, on a table where all of them are known.

For each device, seed and number of samples a model is fitted to that many measured architectures and judged on the
device's others. All sample counts of a (device, seed) share one test set, which holds none of their samples and none
of the architectures whose reference measurements were used (at most 900: the protocol of HELP, Lee et al. 2021,
"Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning", section 4).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archspace import SearchSpace
from latency_models.calibration import TWO_SIDED_90
from latency_models.choices.design import choose_architectures
from latency_models.choices.encoding import Choices, Floats
from latency_models.choices.model import LEAST_MEASURED, check_varies, fit_choice_model
from latency_models.choices.references import reference_weights
from latency_models.choices.table import ChoiceTable
from latency_models.errors import TableError
from latency_models.quality import fit_quality

Selection = Literal["designed", "random"]

MOST_REFERENCES = 900
POOL_SIZE = 2000
"""Architectures that samples are chosen from (more where more samples are asked for)."""
LEAST_TESTED = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRecord:
    """One model, judged on architectures that it has not seen.

    `spearman`, `kendall`: see `FitQuality`; `mape`, `within_5`, `within_10`, `coverage_90` are shares 0-1, the last
    of measurements inside the 90 % interval. `fit_seconds` is the fit of this model alone.
    """

    device: str
    samples: int
    seed: int
    spearman: float
    kendall: float
    mape: float
    within_5: float
    within_10: float
    coverage_90: float
    fit_seconds: float


@dataclass(frozen=True, kw_only=True)
class LatencyBench:
    """What is to be measured.

    Attributes:
        space, table: the architectures and their costs.
        devices: columns that are learnt.
        references: columns of devices that may help; none helps itself, so that equal lists mean
            "leave one device out".
        samples: numbers of measured architectures, each ≥ 5.
        num_seeds: seeds 0 … num_seeds − 1 draw pools, references and test sets.
        selection: samples chosen by `choose_architectures`, or drawn at random.
    """

    space: SearchSpace
    table: ChoiceTable
    devices: Sequence[str]
    references: Sequence[str] = ()
    samples: Sequence[int] = (10, 20, 50, 100, 300, 900)
    num_seeds: int = 5
    selection: Selection = "designed"

    @property
    def num_records(self) -> int:
        """How many records `run` gives."""
        return len(self.devices) * self.num_seeds * len(self.samples)

    def run(self) -> Iterator[BenchRecord]:
        """All records, seed by seed.

        Raises:
            TableError: too few architectures for that many samples, or a column that cannot be learnt.
        """
        self.check()
        for seed in range(self.num_seeds):
            rng = np.random.default_rng(seed)
            rows = rng.permutation(len(self.table.choices))
            shared = rows[:MOST_REFERENCES] if self.references else rows[:0]
            weights = self._reference_weights(shared)
            for device in self.devices:
                others = [i for i, name in enumerate(self.references) if name != device]
                helping = weights[:, others] if weights is not None and others else None
                yield from self._device_records(device, seed, shared, helping, rng)

    def check(self) -> None:
        """Refuse what cannot be run, before anything is fitted. Raises TableError."""
        if min(self.samples) < LEAST_MEASURED:
            raise TableError(f"expected at least {LEAST_MEASURED} samples, got {min(self.samples)}")
        for device in [*self.devices, *self.references]:
            check_varies(self.table.columns[device], device)
        for device in self.devices:
            known = int(np.isfinite(self.table.columns[device]).sum())
            held_back = MOST_REFERENCES if self.references else 0
            needed = max(self.samples) + held_back + LEAST_TESTED
            if known < needed:
                raise TableError(
                    f"{device} is measured on {known} architectures; {max(self.samples)} samples, {held_back} "
                    f"reference architectures and a test set need {needed}: ask for fewer samples"
                )

    def _reference_weights(self, rows: NDArray[np.intp]) -> Floats | None:
        if not self.references:
            return None
        choices = self.table.choices[rows]
        columns = [self.table.columns[name][rows] for name in self.references]
        return reference_weights(self.space, choices, columns, pool=choices)

    def _device_records(
        self,
        device: str,
        seed: int,
        shared: NDArray[np.intp],
        weights: Floats | None,
        rng: np.random.Generator,
    ) -> Iterator[BenchRecord]:
        costs, most = self.table.columns[device], max(self.samples)
        known = rng.permutation(np.flatnonzero(np.isfinite(costs)))
        pool = known[: max(POOL_SIZE, most)]
        chosen = pool[self._chosen(self.table.choices[pool], most, rng, weights)]
        tested = np.setdiff1d(known, np.concatenate([chosen, shared]))
        for count in self.samples:
            started = time.perf_counter()
            model = fit_choice_model(
                self.space,
                self.table.choices[chosen[:count]],
                costs[chosen[:count]],
                pool=self.table.choices[pool],
                references=weights,
            )
            seconds = time.perf_counter() - started
            predicted, std = model.predict_with_std(self.table.choices[tested])
            inside = np.abs(predicted - costs[tested]) <= TWO_SIDED_90 * std
            yield BenchRecord(
                device=device,
                samples=count,
                seed=seed,
                **fit_quality(predicted.tolist(), costs[tested].tolist())._asdict(),
                coverage_90=float(inside.mean()),
                fit_seconds=seconds,
            )

    def _chosen(
        self, choices: Choices, count: int, rng: np.random.Generator, weights: Floats | None
    ) -> NDArray[np.intp]:
        if self.selection == "random":
            return rng.permutation(len(choices))[:count]
        return choose_architectures(self.space, choices, count, rng, references=weights)
