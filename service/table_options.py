"""Options of the verbs that learn from tables; some take several values at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

Space = Annotated[
    str, typer.Option("--space", help="nasbench201, or a run file whose space it is.")
]
References = Annotated[
    list[str] | None,
    typer.Option("--reference", help="Columns of other devices that may help.", metavar="COL..."),
]
ReferenceFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference-file",
        help="Device files of other devices that may help: profiled, imported or fitted.",
        metavar="FILE...",
    ),
]


class ManyValues(TyperCommand):
    """``--reference A B`` means ``--reference A --reference B``, and likewise for each option named in `many`."""

    many: ClassVar[tuple[str, ...]] = ("--reference", "--reference-file")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        option = None
        for arg in args:
            if arg.startswith("-"):
                option = arg if arg in self.many else None
            elif option is not None and spread[-1] != option:
                spread.append(option)
            spread.append(arg)
        return list(super().parse_args(ctx, spread))


class ManyDevices(ManyValues):
    """Several devices, too."""

    many = ("--device", "--reference")


class ManyReports(ManyValues):
    """Several columns to report."""

    many = ("--report",)
