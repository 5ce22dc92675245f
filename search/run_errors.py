"""What can be wrong with a run folder that is only read."""

from __future__ import annotations


class RunFilesError(ValueError):
    """A run's files cannot be used.

    RunFilesError
    ├── NotARun        a folder that is no run, or one that has not ended
    ├── DamagedRun     a file that cannot be read or lacks something
    └── OtherVersion   written by another version of Netlathe, in another form
    """


class NotARun(RunFilesError):
    """The folder holds no finished run."""


class DamagedRun(RunFilesError):
    """A file of the run cannot be read."""


class OtherVersion(RunFilesError):
    """The run was written in another form."""
