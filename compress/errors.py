"""What can go wrong.

ValueError
└── CompressionError       what was asked for cannot be done; the message says what to change
    ├── ModelNotReadable   no network with weights where one was expected
    ├── PairError, UncacheableTeacher (`distillation`)
    └── QuantisationError (`quantisation/errors.py`)
"""

from __future__ import annotations


class CompressionError(ValueError):
    """What was asked for cannot be done."""


class ModelNotReadable(CompressionError):
    """Files that hold no network with its weights."""
