"""One BLAS thread where problems are tiny and asked for thousands of times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """For an optimiser's loop: L-BFGS's own steps are so small that threads only wait for each other, several times longer
    than the work takes, and worse where the machine is busy."""
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield


@cache
def _thread_pools() -> ThreadpoolController:
    """Those of the libraries loaded; looking for them takes a while."""
    return ThreadpoolController()
