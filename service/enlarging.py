"""A larger budget for a run that was begun with a smaller one: what it has found already stands, and more comes to it.

Every strategy proposes the same whatever its budget, up to the smaller one's end; those with settings that follow the share
of the budget that is spent do not, and are refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from search import SearchConfig
from service.config_file import validate
from service.errors import UsageError
from service.output import talk
from service.run_config import RunConfig
from service.run_folder import RunFolder, open_run, write_run_file


def enlarge_run(folder: RunFolder, *, add_trials: int = 0, at_least: int = 0) -> None:
    """Write a larger budget into the run's config, or leave it as it is.

    What was compressed goes: the best network may be another one after more of the search.

    Args:
        folder: of a run that this process holds the lock of.
        add_trials: children that each session may pay for beyond its budget.
        at_least: a budget in all; nothing changes where the run has that already, so this may be repeated.

    Raises:
        UsageError: another budget would mean other proposals from the start.
    """
    _, file = open_run(folder.path)
    search = validate(RunConfig, file.config, str(folder.run_file)).search
    budget = max(search.budget + add_trials, at_least)
    if budget <= search.budget:
        return
    check_may_grow(search, str(folder.path))
    if folder.compressed.is_dir():
        removed = folder.path / ".compressed.removed"
        shutil.rmtree(removed, ignore_errors=True)  # of a kill before
        folder.compressed.rename(removed)  # whole or not there, whenever this is killed
        shutil.rmtree(removed)
    write_run_file(folder, _enlarged(file.config, search, budget), file.seed, file.frozen)
    talk.print(f"budget: {search.budget} → {budget} children for each strategy")


def check_may_grow(search: SearchConfig, name: str) -> None:
    """Refuse what another budget would have searched otherwise. Raises UsageError."""
    if search.follows_budget:
        raise UsageError(
            f"{name}: no trials can be added: {', '.join(search.follows_budget)} follows the share of the budget that is "
            "spent, so that with a larger budget the search would have gone another way from its start; begin a new "
            "search with the larger budget"
        )


def _enlarged(config: Mapping[str, Any], search: SearchConfig, budget: int) -> dict[str, Any]:
    section = dict(config.get("search") or {})
    section["budget"] = budget
    # whether it measures in between depends on the budget, too: as it was begun
    recalibration = dict(section.get("recalibration") or {})
    recalibration["every"] = search.recalibration.every_for(search.budget)
    return {**config, "search": {**section, "recalibration": recalibration}}
