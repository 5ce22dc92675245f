"""What evaluating an architecture gives: values that cross package boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from archspace import Architecture, Network
from latency_models import Cost


class FailureReason(StrEnum):
    """Why a child has no accuracy."""

    OOM = "OOM"
    TIMEOUT = "TIMEOUT"
    CRASH = "CRASH"
    NONFINITE = "NONFINITE"
    LOST = "LOST"

    @property
    def is_infrastructure(self) -> bool:
        """True where the child is not to blame: nothing is charged, and it may be tried again."""
        return self is FailureReason.LOST


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """How thoroughly a child is trained, and what that costs the budget (a full search child = 1).

    Attributes:
        name: for people; part of the child's seed.
        epochs: passes over the training images that are used.
        data_fraction: share of the training images that is used, of each class alike, in (0, 1].
        resolution: height in pixels that images are scaled down to; None: as they are.
        cost: what a child takes from the budget.
        supernet: digest of the shared weights that the child inherits instead of being trained; "": it is trained.
    """

    name: str
    epochs: int
    data_fraction: float = 1.0
    resolution: int | None = None
    cost: float = 1.0
    supernet: str = ""

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 < self.data_fraction <= 1 or not self.cost >= 0:
            raise ValueError(
                f"fidelity {self.name}: expected epochs of 1 or more, a data_fraction in (0, 1] and a cost of 0 or "
                f"more, got {self.epochs}, {self.data_fraction:g} and {self.cost:g}"
            )
        if self.resolution is not None and self.resolution < 1:
            raise ValueError(f"fidelity {self.name}: resolution {self.resolution} is no size")

    @property
    def reductions(self) -> str:
        """What is reduced besides epochs, as text for keys and seeds; "" for a training on all images in full size."""
        images = f"/data{self.data_fraction!r}" if self.data_fraction < 1 else ""
        images += f"/{self.resolution}px" if self.resolution is not None else ""
        return images + (f"/supernet-{self.supernet}" if self.supernet else "")

    @property
    def reduces_images(self) -> bool:
        """Whether a part of the images is used, or smaller ones."""
        return self.data_fraction < 1 or self.resolution is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildTask:
    """One child to evaluate. `network` is None for evaluators that only look results up.

    `seed` comes from (training seed, digest, fidelity, replicate) by `child_seed`: never from the worker,
    the order or the run.
    """

    architecture: Architecture
    network: Network | None
    fidelity: Fidelity
    replicate: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildResult:
    """Outcome of one child.

    `accuracy` (validation, share 0-1) is what the early-exit network reaches with its `exit_thresholds`;
    `accuracy_no_exit` is the final head's alone. `exit_shares` are the shares of validation samples that
    leave at each exit, the final head last: they sum to 1. Without exits: () and (1.0,).
    Failed children have `failure` and `message`, and None for the accuracies.
    `train_seconds` and `worker` are for people: no decision may depend on them.
    """

    digest: str
    failure: FailureReason | None = None
    message: str = ""
    accuracy: float | None = None
    accuracy_no_exit: float | None = None
    exit_thresholds: tuple[float, ...] = ()
    exit_shares: tuple[float, ...] = (1.0,)
    train_seconds: float = 0.0
    worker: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCosts:
    """What one network costs on the device, at batch 1 unless the device says otherwise.

    Expected costs weigh each exit's prefix by its share of samples; worst costs take no exit. Without early
    exits the two are equal. `num_params`, `macs` and `size_bytes` (of the stored weights) count the whole network with all
    its heads.
    """

    latency_ms: Cost
    latency_worst_ms: Cost
    energy_mj: Cost
    energy_worst_mj: Cost
    num_params: int
    macs: int
    size_bytes: int
    model_version: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What the ledger hands to a searcher for one proposal.

    Attributes:
        sequence: place in the session's proposal log, from 0.
        architecture: what was proposed.
        result: the child's outcome; None if `rejected`.
        costs: predicted costs (expected ones with the measured exit shares); None where a table has no row.
        reward: the objective's value; for failed and rejected proposals the objective's `failure_reward`.
        charged: what this proposal took from the budget (0 for repeats, rejections, infrastructure faults).
        is_new: the session asked for this key for the first time.
        rejected: which hard limit the network breaks ("latency_ms 3.1 > 2.0"), else "".
        fidelity: at what reduced fidelity the child was trained; None: at the session's own, in full.
        arrival: place among the session's results as they came, from 0; None where they are handed back in order of proposal.
    """

    sequence: int
    architecture: Architecture
    result: ChildResult | None
    costs: NetworkCosts | None
    reward: float
    charged: float
    is_new: bool
    rejected: str = ""
    fidelity: Fidelity | None = None
    arrival: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether the child was trained at the session's own fidelity: only such ones are compared and picked."""
        return self.fidelity is None

    @property
    def ok(self) -> bool:
        """Whether there is an accuracy."""
        return self.result is not None and self.result.accuracy is not None

    @property
    def accuracy(self) -> float:
        """Validation accuracy, share 0-1. Raises ValueError on a failed or rejected proposal."""
        if self.result is None or self.result.accuracy is None:
            raise ValueError(f"proposal {self.sequence} has no accuracy: check `ok` first")
        return self.result.accuracy
