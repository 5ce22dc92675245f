"""What a session knows of its proposals without keeping them: its log as it stood, and which of them answers what."""

from __future__ import annotations

from evaluation.children import Key
from evaluation.results import Fidelity
from evaluation.storage import Storage
from evaluation.tables import LoggedProposal, SessionRecord

_ASKED = -1


class ReplayLog:
    """A session's log as it was when this was made, read page by page as it is replayed.

    Raises:
        LedgerDamaged: a row is missing, or not as it was written; here, or where it is read again.
    """

    def __init__(self, storage: Storage, record: SessionRecord) -> None:
        self._storage, self._record = storage, record
        self._page: list[LoggedProposal] = []
        self._open: list[int] = []
        self._length, self.charged = 0, 0.0
        for proposal in storage.each_proposal(record):
            self._length += 1
            if proposal.evaluation is None:
                self._open.append(proposal.sequence)
            else:
                self.charged += proposal.evaluation.charged

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, sequence: int) -> LoggedProposal:
        """The proposal with this number, from 0 to below the length, that this session did not finish itself."""
        first = self._page[0].sequence if self._page else 0
        if not 0 <= sequence - first < len(self._page):
            first, self._page = sequence, self._storage.page(self._record, sequence)
        return self._page[sequence - first]

    @property
    def results(self) -> int:
        """How many proposals have a result."""
        return self.finished(self._length)

    def finished(self, before: int) -> int:
        """How many of the proposals before this number have a result."""
        return min(before, self._length) - sum(sequence < before for sequence in self._open)


class Answers:
    """Keys that a session has asked for, and the number of the first proposal that has a result for each."""

    def __init__(self) -> None:
        self._sequences: dict[Fidelity | None, dict[str, int]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether it was asked for."""
        digest, fidelity = key
        return digest in self._sequences.get(fidelity, ())

    def get(self, key: Key) -> int | None:
        """Which proposal answers it; None where none does yet."""
        digest, fidelity = key
        sequence = self._sequences.get(fidelity, {}).get(digest, _ASKED)
        return None if sequence == _ASKED else sequence

    def ask(self, key: Key) -> None:
        digest, fidelity = key
        self._sequences.setdefault(fidelity, {}).setdefault(digest, _ASKED)

    def answer(self, key: Key, sequence: int) -> None:
        """Proposal `sequence` has a result; the first one to have one stays the answer."""
        if self.get(key) is None:
            digest, fidelity = key
            self._sequences.setdefault(fidelity, {})[digest] = sequence
