"""Errors of this package.

ValueError
└── LatencyModelError
    ├── DeviceUnavailable    the device or runtime that a config asks for is not there
    ├── MeasuringFailed      a network could not be run or timed; never turned into a cost of 0
    ├── CostModelRefused     too poor on held-out networks to be trusted
    ├── DeviceFileError      a device file that is damaged, of another version, or not one
    │   └── DeviceFileChanged    one that can be read, but is not as it was written
    ├── JournalMismatch      measurements of an unfinished profile that is another one
    ├── SuiteError           a measuring suite, or figures filled into one, that cannot be used
    └── TableError           a table of measured results that cannot be used
"""

from __future__ import annotations


class LatencyModelError(ValueError):
    """Base of this package's errors."""


class DeviceUnavailable(LatencyModelError):
    """The accelerator, runtime or number of threads is not there; the message says what is."""


class MeasuringFailed(LatencyModelError):
    """A network could not be run or timed on the device."""


class CostModelRefused(LatencyModelError):
    """A cost model that ranks held-out networks too badly; the message says what helps."""


class DeviceFileError(LatencyModelError):
    """A device file that cannot be read."""


class DeviceFileChanged(DeviceFileError):
    """Its checksum is not that of what it holds."""


class JournalMismatch(LatencyModelError):
    """The journal of an unfinished profile is not this profile's."""


class SuiteError(LatencyModelError):
    """A measuring suite or its measurements; the message names file, row and column."""


class TableError(LatencyModelError):
    """A table of measured results without the columns, units or rows that are needed."""
