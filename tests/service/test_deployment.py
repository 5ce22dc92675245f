"""What the place decides, from the environment to a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation import EvaluatorConfig
from service.cli import app
from service.deployment import LEDGER, MAX_WORKERS, Deployment, is_shared
from service.errors import UsageError
from service.evaluators import placed
from service.run_folder import RunFolder, create_run


def test_an_empty_environment_decides_nothing() -> None:
    assert Deployment.here({}) == Deployment()
    assert Deployment.here({MAX_WORKERS: "", LEDGER: ""}) == Deployment()
    assert Deployment().to_environment() == {}


def test_what_a_process_is_told_is_what_it_reads() -> None:
    told = Deployment(
        ledger_url="postgresql://h/d",
        shared_results="sqlite:///x.db",
        ray_address="head:6379",
        max_workers=3,
    )
    assert Deployment.here(told.to_environment()) == told


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_workers_that_are_no_number_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"{MAX_WORKERS}: expected a whole number"):
        Deployment.here({MAX_WORKERS: text})


@pytest.mark.parametrize(
    ("asked", "most", "workers"),
    [(None, None, None), (4, None, 4), (None, 2, 2), (4, 2, 2), (1, 2, 1)],
)
def test_the_place_bounds_the_workers(asked: int | None, most: int | None, workers: int) -> None:
    config = EvaluatorConfig(kind="ray", workers=asked, address="a:1")
    assert placed(config, Deployment(max_workers=most)).workers == workers
    assert placed(config, Deployment()).address == "a:1"
    assert placed(config, Deployment(ray_address="b:2")).address == "b:2"


def test_files_are_no_shared_databases() -> None:
    assert not is_shared(None)
    assert not is_shared("sqlite:///x.db")
    assert is_shared("postgresql+psycopg://h/d")


def test_a_run_has_its_ledger_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEDGER, raising=False)
    folder = create_run(tmp_path / "run", {}, 0)
    monkeypatch.setenv(LEDGER, "postgresql://h/d")  # too late for this one
    assert folder.ledger_url == f"sqlite:///{tmp_path / 'run' / 'ledger.db'}"
    assert folder.ledger_scope == ""


def test_or_in_a_database_and_remembers_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEDGER, "postgresql://h/d")
    folder = create_run(tmp_path / "run", {}, 0)
    assert (folder.ledger_url, folder.ledger_scope) == ("postgresql://h/d", "run")
    monkeypatch.delenv(LEDGER)
    with pytest.raises(UsageError, match=f"is in a database: set {LEDGER}"):
        _ = folder.ledger_url
    assert RunFolder(folder.path, "postgresql://other/d").ledger_url == "postgresql://other/d"


def test_clusters_of_other_machines_need_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    asked = CliRunner().invoke(app, ["serve", "--results", str(tmp_path), "--ray", "10.1.2.3:6379"])
    assert isinstance(asked.exception, UsageError)
    assert "RAY_AUTH_MODE=token" in str(asked.exception)
