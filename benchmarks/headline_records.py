"""What `headline.py` keeps between calls: JSON lines, one a training and one a finished seed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from archspace import write_atomic

FOUND = "found"
"""Name of the network that the search found; the others have the names of `mobilenet.peers`."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Record):
    """What the records of one folder have in common; a folder of another plan is not gone on with.

    Attributes:
        size: height and width of the images, in pixels.
        searches: how many; seed k trains what search k mod `searches` found. None: a search for each seed.
        config: of the searches, with overrides; how found networks are trained is a part of it.
        peer_training: how peers are trained.
    """

    size: int
    searches: int | None
    config: dict[str, Any]
    peer_training: dict[str, Any]


class Chosen(_Record):
    """The network of a search's front that meets one peer; see `headline_choice.choose`.

    Attributes:
        search: number of the search.
        peer: name of the peer.
        digest: of the found network.
        ratio: the latency of the peer with as many parameters over the found network's, when it was chosen.
        passed: whether that is large enough; if not, no network of the front has a larger one.
    """

    search: int
    peer: str
    digest: str
    ratio: float
    passed: bool


class Trained(_Record):
    """One network after the full schedule. Accuracies are shares 0-1; plain ones take no exit.

    `exit_` accuracies are at the thresholds that were chosen on validation data; equal to the plain ones where there
    are no exits. `exit_shares` are of validation samples, one a head, the final one last.
    """

    name: str
    digest: str
    seed: int
    num_params: int
    macs: int
    validation_accuracy: float
    test_accuracy: float
    exit_validation_accuracy: float
    exit_test_accuracy: float
    exit_shares: tuple[float, ...]
    train_seconds: float


class Timed(_Record):
    """A found network and its peer, timed side by side in several sessions.

    Attributes:
        found_ms, peer_ms: of a call that takes no exit, geometric means over the sessions.
        found_exit_ms: of the found network with its exits taken, expected at its shares.
        ratio: `peer_ms` over `found_ms`; above 1, the found one is faster.
        low, high: 95 % interval of the ratio, by Student's t over the logarithms of the sessions' ratios.
    """

    found_ms: float
    found_exit_ms: float
    peer_ms: float
    ratio: float
    low: float
    high: float


class Pair(_Record):
    """A found network against one peer; `passed` as in `Chosen`."""

    found: Trained
    peer: Trained
    passed: bool
    timed: Timed


class SeedRecord(_Record):
    """One seed, finished: a pair for each peer. `search` is the number of the search."""

    seed: int
    search: int
    pairs: tuple[Pair, ...]


R = TypeVar("R", bound=BaseModel)


class Lines(Generic[R]):
    """Records of one kind in a JSON-lines file. The file is replaced whole, so that a kill tears no line."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self._path = path
        self.records: list[R] = []
        if path.is_file():
            self.records = [_parse(path, kind, line) for line in path.read_text().splitlines()]

    def add(self, records: Iterable[R]) -> None:
        self.records += records
        write_atomic(self._path, "".join(f"{r.model_dump_json()}\n" for r in self.records))


def _parse(path: Path, kind: type[R], line: str) -> R:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise SystemExit(f"{path}: expected records of this benchmark: {error}") from error


def keep_plan(path: Path, plan: Plan) -> None:
    """Write the plan, or check that the one there is the same. Ends the program where it is not."""
    text = plan.model_dump_json(indent=1) + "\n"
    if not path.is_file():
        write_atomic(path, text)
    elif path.read_text() != text:
        raise SystemExit(
            f"{path}: made with another size, config or number of searches; use another --work"
        )
