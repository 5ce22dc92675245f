"""``manifest.json`` of a measuring suite: what each file is, so that reading it back needs no config."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archspace import Network, network_from_dict, write_atomic
from latency_models.errors import SuiteError
from latency_models.features import block_digest

MANIFEST_FILE = "manifest.json"
MEASUREMENTS_FILE = "measurements.csv"

Role = Literal["reference", "call", "block", "network", "held_out"]

_MAX_BYTES = 100_000_000
_ONE_ONLY: tuple[Role, ...] = ("reference", "call")


class SuiteFile(BaseModel):
    """One ONNX file of the suite.

    Attributes:
        file: path relative to the suite, with ``/``.
        role: ``reference`` (all others are ratios to it), ``call`` (does next to nothing), ``block``,
            ``network`` (fitted on) or ``held_out`` (judged on).
        network_digest: of what the file computes; `block_digest` too where it is a block, else None.
        input_name, input_shape: the only input, float32, (batch, channels, height, width).
        sha256: of the file.
        macs: multiply-accumulates of one image.
        num_params: learnable parameters.
        network: what the file computes, as `archspace.network_to_dict` writes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(min_length=1)
    role: Role
    network_digest: str
    block_digest: str | None = None
    input_name: str
    input_shape: tuple[int, int, int, int]
    sha256: str
    macs: int = Field(ge=0)
    num_params: int = Field(ge=0)
    network: dict[str, Any]

    def resolve(self) -> Network:
        """The network itself.

        Raises:
            SuiteError: it is not the one whose digest stands beside it.
        """
        try:
            network = network_from_dict(self.network)
            found = network.digest
            block = block_digest(network.blocks[0]) if self.role == "block" else None
        except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
            raise SuiteError(
                f"{self.file}: its network cannot be read ({error!r}); take the manifest as it was exported"
            ) from error
        if (found, block) != (self.network_digest, self.block_digest):
            raise SuiteError(
                f"{self.file}: expected the network {self.network_digest}, its layers give {found}: "
                "the manifest was changed by hand or damaged; take it as it was exported"
            )
        return network


class SuiteManifest(BaseModel):
    """A whole suite.

    Attributes:
        netlathe_version: what wrote it.
        space_digest: of the space whose networks and blocks these are.
        batch_size: images in a call.
        seed: decided which networks were chosen.
        num_blocks_used: distinct blocks of the space, of which some are in the suite.
        files: at least one of each role.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    SCHEMA_VERSION: ClassVar[int] = 1

    kind: Literal["netlathe_suite"] = "netlathe_suite"
    schema_version: Literal[1] = 1
    netlathe_version: str
    space_digest: str
    batch_size: int = Field(ge=1)
    seed: int
    num_blocks_used: int = Field(ge=1)
    files: tuple[SuiteFile, ...]

    def of_role(self, role: Role) -> list[SuiteFile]:
        """Files of one role, in order."""
        return [file for file in self.files if file.role == role]

    def save(self, folder: Path) -> None:
        """Write ``manifest.json`` into `folder`, whole or not at all."""
        write_atomic(folder / MANIFEST_FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> SuiteManifest:
        """Read and check ``manifest.json`` of `folder`.

        Raises:
            SuiteError: not a suite's manifest, a damaged one, or one of another version.
            OSError: it cannot be opened.
        """
        source = folder / MANIFEST_FILE
        if source.stat().st_size > _MAX_BYTES:
            raise SuiteError(f"{source}: over {_MAX_BYTES} bytes; this is no suite's manifest")
        data = _parse(source)
        try:
            manifest = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise SuiteError(
                f"{source}: damaged at {where}: {first['msg']}; take it as it was exported"
            ) from error
        _check_files(source, manifest)
        return manifest


def _parse(source: Path) -> dict[str, Any]:
    try:
        data = json.loads(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{source}: expected JSON, got something else ({error})") from error
    if not isinstance(data, dict) or data.get("kind") != "netlathe_suite":
        raise SuiteError(
            f'{source}: expected the manifest of a suite ("kind": "netlathe_suite"); did you mean another folder?'
        )
    version, expected = data.get("schema_version"), SuiteManifest.SCHEMA_VERSION
    if version != expected:
        raise SuiteError(
            f"{source}: expected schema_version {expected}, got {version!r}; use the netlathe that wrote it "
            f"({data.get('netlathe_version', 'unknown')})"
        )
    return data


def _check_files(source: Path, manifest: SuiteManifest) -> None:
    for role in _ONE_ONLY:
        count = len(manifest.of_role(role))
        if count != 1:
            raise SuiteError(f"{source}: expected one file of role {role}, got {count}")
    name, times = Counter(file.file for file in manifest.files).most_common(1)[0]
    if times > 1:
        raise SuiteError(f"{source}: {name} stands in it {times} times; take it as it was exported")
