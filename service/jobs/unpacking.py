"""An export that came as a zip archive, into a folder: whole or not at all, and nowhere else."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from pathlib import Path

from deploy.files import folder_at_once
from service.errors import NetlatheError

MOST_FILES = 64
MOST_BYTES = 1024 * 1024 * 1024
_MEMBER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}/([A-Za-z0-9][A-Za-z0-9._-]{0,99})")
"""A folder's name and a file's: nothing absolute, no way up, nothing hidden."""


def unpack_export(content: bytes, to: Path) -> None:
    """Write the archive's files into the folder `to`; an earlier export there is replaced.

    Raises:
        NetlatheError: not an archive, or one with other members than an export's: links, folders, other names, too much.
        ExportError: `to` holds something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = _files(archive)
            with folder_at_once(to) as partial:
                left = MOST_BYTES
                for name, member in files.items():
                    left -= _write(archive, member, partial / name, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise NetlatheError(f"the export cannot be unpacked: {error}") from error


def _files(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members = archive.infolist()
    if not 0 < len(members) <= MOST_FILES:
        raise NetlatheError(
            f"the export has {len(members)} files, expected between 1 and {MOST_FILES}"
        )
    files: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        match = _MEMBER.fullmatch(member.filename)
        mode = member.external_attr >> 16
        if match is None or (mode and not stat.S_ISREG(mode)):
            raise NetlatheError(f"the export holds {member.filename!r}, which is none of its files")
        if match[1].lower() in (name.lower() for name in files):
            raise NetlatheError(f"the export holds {match[1]!r} twice")
        files[match[1]] = member
    return files


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> int:
    """How many bytes it had. What the archive says of its sizes is not believed."""
    size = 0
    with archive.open(member) as source, path.open("xb") as target:
        while part := source.read(1 << 20):
            size += len(part)
            if size > most:
                raise NetlatheError(f"the export is larger than {MOST_BYTES} bytes")
            target.write(part)
    return size
