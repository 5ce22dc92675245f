"""What can go wrong with an export.

DeployError (ValueError)
├── UnsupportedNetwork   a network that cannot be written as a stand-alone model
├── ExportError          weights, figures or a target folder that do not fit
├── BrokenExport         a folder that is not a complete, readable export
└── ExportNotFound       no such folder
"""

from __future__ import annotations


class DeployError(ValueError):
    """Base of this package's errors."""


class UnsupportedNetwork(DeployError):
    """The network has something that the stand-alone model cannot express."""


class ExportError(DeployError):
    """Nothing was exported: the message says what does not fit."""


class BrokenExport(DeployError):
    """A folder that is not an export, or a damaged one."""


class ExportNotFound(DeployError):
    """There is no such folder."""
