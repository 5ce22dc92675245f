"""For all tests: Hypothesis tries the same examples each time; `NETLATHE_EXPLORE=1` has it look for new ones."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("NETLATHE_EXPLORE"):
    settings.load_profile("repeatable")
