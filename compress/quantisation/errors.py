"""What can go wrong with a quantisation.

CompressionError
└── QuantisationError
    ├── NotFinite             NaN or infinity where numbers are wanted
    ├── NotExecutableInInt8   a quantisation that the INT8 run time cannot execute
    └── BudgetUnreachable     no bit widths within the limit
"""

from __future__ import annotations

from compress.errors import CompressionError


class QuantisationError(CompressionError):
    """Base of this package's errors."""


class NotFinite(QuantisationError):
    """A tensor with NaN or infinity: it has no range."""


class NotExecutableInInt8(QuantisationError):
    """Weights or maps that INT8 kernels cannot run; the message says which and why."""


class BudgetUnreachable(QuantisationError):
    """The limit does not hold even with the fewest bits allowed."""
