"""Reading a job's log while it may be written."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from service.jobs.answers import LogPart

_TAIL_BYTES = 4096
_PART_BYTES = 65_536


def tail(path: Path, start: int = 0) -> str:
    """The last few kilobytes of a file, from `start` on."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")


def read_log(path: Path, offset: int) -> LogPart:
    """At most 64 KiB from a place on; nothing where there is no more, or no file yet.

    A character that is written in part comes with the next part.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(_PART_BYTES)
    except FileNotFoundError:
        data = b""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data)
    return LogPart(text=text, next=offset + len(data) - len(decoder.getstate()[0]))
