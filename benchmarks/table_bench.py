"""The bench that several scripts here run their searchers on: a table of NAS-Bench-201."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from archspace import NasBench201Space
from latency_models import ChoiceTable
from search import SearchBench


def table_bench(
    options: argparse.Namespace, budgets: Sequence[int], *, report: Sequence[str] = ()
) -> SearchBench:
    """Checked; `options` has `table`, `accuracy`, `latency`, `energy` (columns or None), `objective` and `batch`."""
    space = NasBench201Space()
    columns = [options.accuracy, *report, *filter(None, (options.latency, options.energy))]
    bench = SearchBench(
        space=space,
        table=ChoiceTable.read(options.table, space, columns),
        accuracy=options.accuracy,
        latency=options.latency,
        energy=options.energy,
        report=report,
        goal=options.objective,
        budgets=tuple(budgets),
        batch_size=options.batch,
    )
    bench.check()
    return bench
