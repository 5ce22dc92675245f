"""Run directories: made whole, locked, refused when they are from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from archspace import write_atomic
from evaluation import Ledger
from service.errors import ConflictError, DamagedError, NetlatheError, NotFoundError, UsageError
from service.jobs.folder import JobsFolder
from service.run_folder import (
    FORMAT,
    create_run,
    default_path,
    locked,
    open_run,
    version_differences,
    write_run_file,
)


def test_round_trip(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", {"name": "x"}, 3)
    write_run_file(folder, {"name": "x"}, 3, frozen={"space": "abc"})
    again, file = open_run(tmp_path / "run")
    assert again == folder
    assert (file.config, file.seed, file.frozen) == ({"name": "x"}, 3, {"space": "abc"})
    assert version_differences(file) == []


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    create_run(tmp_path / "run", {"name": "x"}, 0)
    with pytest.raises(ConflictError, match="netlathe resume"):
        create_run(tmp_path / "run", {"name": "y"}, 0)


def test_databases_are_in_their_folders_whatever_these_are_called(tmp_path: Path) -> None:
    folder = JobsFolder(tmp_path / "50%20 off? {x}")
    run = create_run(folder.run("one").path, {"name": "x"}, 0)
    for url in (run.ledger_url, folder.database_url):
        Ledger(url).close()
    assert [path.name for path in tmp_path.iterdir()] == [folder.results.name]
    assert run.ledger_file.is_file()
    assert (folder.results / "jobs.db").is_file()


def test_an_unwritable_place_is_a_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NetlatheError, match="cannot write the run folder"):
        create_run(tmp_path / "file" / "run", {}, 0)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a run"):
        open_run(tmp_path)
    (tmp_path / "run.yaml").write_text("format: [")
    with pytest.raises(DamagedError, match="damaged"):
        open_run(tmp_path)


def test_another_layout_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", {"name": "x"}, 0)
    data = yaml.safe_load(folder.run_file.read_text())
    data["format"], data["versions"]["netlathe"] = FORMAT + 1, "9.9"
    folder.run_file.write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError, match=r"netlathe 9\.9"):
        open_run(folder.path)


def test_version_changes_are_listed(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", {"name": "x"}, 0)
    data = yaml.safe_load(folder.run_file.read_text())
    data["versions"]["torch"] = "1.0"
    folder.run_file.write_text(yaml.safe_dump(data))
    assert [d.split(" → ")[0] for d in version_differences(open_run(folder.path)[1])] == [
        "torch 1.0"
    ]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", {"name": "x"}, 0)
    with locked(folder), pytest.raises(ConflictError, match="in use"), locked(folder):
        pass
    with locked(folder):
        pass


def test_default_path_takes_the_next_free_name(tmp_path: Path) -> None:
    assert default_path("digits", 0, tmp_path).name == "digits-s0"
    (tmp_path / "digits-s0").mkdir()
    assert default_path("digits", 0, tmp_path).name == "digits-s0-2"
    with pytest.raises(UsageError, match="lower-case"):
        default_path("../up", 0, tmp_path)


def test_atomic_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "one")
    write_atomic(tmp_path / "a.txt", "two")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "two"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("phone.safetensors", "device.safetensors"), ("board.json", "device.json"), ("x", "device.json")],
)  # fmt: skip
def test_a_device_file_is_kept_by_its_kind(tmp_path: Path, given: str, kept: str) -> None:
    (tmp_path / given).write_text("a device")
    folder = create_run(tmp_path / "run", {"name": "x"}, 0, tmp_path / given)
    assert folder.device_file == tmp_path / "run" / kept
    assert folder.device_file.read_text() == "a device"


def test_without_a_device_file_the_profile_will_be_json(tmp_path: Path) -> None:
    assert create_run(tmp_path / "run", {"name": "x"}, 0).device_file.name == "device.json"
