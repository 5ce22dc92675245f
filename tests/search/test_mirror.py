"""The copy for Optuna's dashboard: complete, written once, and never in the way of the search."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
import pytest

from archspace import ArchitectureDocument, StagedSpace
from evaluation import ChildResult, FailureReason, TrainedChild
from latency_models import Cost, PrefixCosts
from search import mirror_store, optuna_mirror
from search.config import ScheduleConfig
from search.finals import Final
from search.mirror_insert import storage_class
from search.mirror_store import DATABASE, database_url
from search.optuna_mirror import OptunaMirror, dashboard_command
from tests.search.run_samples import SampleRun, make_evaluation


@dataclass(frozen=True)
class Run:
    run_dir: Path
    mirror_dir: Path | None
    space: StagedSpace
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


@pytest.fixture
def run(sample_run, tmp_path):
    run_dir = tmp_path / "results" / "digits-s0"
    run_dir.mkdir(parents=True)
    return Run(run_dir, tmp_path / "results", sample_run.space)


@pytest.fixture(scope="module")
def small_run():
    return SampleRun(children=4)


def mirror_all(run: Run, sample: SampleRun) -> None:
    mirror = OptunaMirror(run)
    for session, history in sample.sessions.items():
        for evaluation in history:
            mirror.add(session, evaluation)
    mirror.close()


def load(run: Run, name: str = "digits-s0") -> optuna.Study:
    assert run.mirror_dir is not None
    return optuna.load_study(study_name=name, storage=database_url(run.mirror_dir))


def read_rows(run: Run, query: str) -> list[tuple]:
    connection = sqlite3.connect(run.mirror_dir / DATABASE)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_one_study_with_a_trial_a_new_proposal(run, small_run):
    mirror_all(run, small_run)
    study = load(run)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "latency_ms", "energy_mj"]
    new = {
        f"{name}/{e.sequence}": e
        for name, history in small_run.sessions.items()
        for e in history
        if e.is_new
    }
    trials = {t.user_attrs["key"]: t for t in study.trials}
    assert set(trials) == set(new)
    for key, trial in trials.items():
        evaluation = new[key]
        assert trial.params == run.space.named(evaluation.architecture.choices)
        assert trial.user_attrs["digest"] == evaluation.architecture.digest
        if evaluation.ok:
            assert trial.state.name == "COMPLETE"
            costs = evaluation.costs
            assert trial.values == [
                evaluation.accuracy,
                costs.latency_ms.value,
                costs.energy_mj.value,
            ]
            assert trial.user_attrs["latency_source"] == "predicted"
            assert trial.user_attrs["energy_source"] == "estimated"
            assert trial.user_attrs["fidelity"] == "search"
        assert (trial.user_attrs["strategy"], trial.user_attrs["seed"]) == (key.split("-")[0], 0)


def test_artifacts_are_architecture_files(run, small_run):
    mirror_all(run, small_run)
    study = load(run)
    store = optuna.artifacts.FileSystemArtifactStore(run.mirror_dir / "artifacts")
    for trial in study.trials:
        metas = optuna.artifacts.get_all_artifact_meta(study_or_trial=trial, storage=study._storage)
        assert len(metas) == (trial.state.name == "COMPLETE")
        for meta in metas:
            with store.open_reader(meta.artifact_id) as file:
                document = ArchitectureDocument.from_json(file.read().decode())
            assert document.digest == trial.user_attrs["digest"]
            assert meta.filename == f"{document.digest}.json"


def test_failed_rejected_and_repeated_proposals(run, small_run):
    choices = small_run.main[0].architecture.choices
    mirror = OptunaMirror(run)
    for evaluation in (
        make_evaluation(0, failure=FailureReason.OOM, message="too big", choices=choices),
        make_evaluation(1, rejected="size_bytes 9 > 2", choices=choices),
        make_evaluation(2, is_new=False, choices=choices),
        make_evaluation(3, latency_ms=None, choices=choices),
    ):
        mirror.add("ppo-0", evaluation)
    mirror.close()
    trials = load(run).trials
    assert [t.state.name for t in trials] == ["FAIL", "PRUNED", "FAIL"]
    assert trials[0].user_attrs["failure"] == "OOM"
    assert trials[0].user_attrs["message"] == "too big"
    assert trials[1].user_attrs["rejected"] == "size_bytes 9 > 2"


def test_resuming_adds_only_what_is_missing(run, small_run):
    mirror = OptunaMirror(run)
    for evaluation in small_run.main[:3]:
        mirror.add("ppo-0", evaluation)
    mirror.close()
    mirror_all(run, small_run)
    count = len(load(run).trials)
    mirror_all(run, small_run)
    keys = [t.user_attrs["key"] for t in load(run).trials]
    assert len(keys) == len(set(keys)) == count
    numbers = read_rows(run, "SELECT number FROM trials ORDER BY number")
    assert [n for (n,) in numbers] == list(range(count))
    artifacts = list((run.mirror_dir / "artifacts").iterdir())
    assert len(artifacts) == sum(t.state.name == "COMPLETE" for t in load(run).trials)


def test_another_run_of_the_same_name_is_another_study(run, small_run, tmp_path):
    mirror_all(run, small_run)
    other = replace(run, run_dir=tmp_path / "elsewhere" / "digits-s0")
    other.run_dir.mkdir(parents=True)
    mirror_all(other, small_run)
    assert len(load(run).trials) == len(load(run, "digits-s0 (2)").trials)


def test_finals_show_what_was_measured(run, small_run):
    evaluation = small_run.picks["best"]
    network = run.space.resolve(evaluation.architecture.choices)
    heads = len(network.heads)
    shares = (1.0,) + (0.0,) * (heads - 1)
    child = TrainedChild(
        result=ChildResult(
            digest=evaluation.architecture.digest,
            accuracy=0.99,
            accuracy_no_exit=0.99,
            exit_thresholds=(0.5,) * (heads - 1),
            exit_shares=shares,
        ),
        test_accuracy=0.97,
        test_accuracy_no_exit=0.98,
        test_size=360,
        weights={},
    )
    costs = tuple(Cost(1.0 + i, 0.1, "measured") for i in range(heads))
    final = Final(
        pick="best",
        evaluation=evaluation,
        network=network,
        trained=child,
        measured=PrefixCosts(latency_ms=costs, energy_mj=costs),
    )
    mirror = OptunaMirror(run)
    mirror.add_finals([final])
    mirror.add_finals([final])
    mirror.close()
    (trial,) = load(run).trials
    assert trial.values[:2] == [0.99, 1.0]
    assert trial.user_attrs["test_accuracy"] == 0.97
    assert trial.user_attrs["latency_measured_ms"] == 1.0
    assert trial.user_attrs["latency_worst_ms"] == float(heads)
    assert (trial.user_attrs["pick"], trial.user_attrs["fidelity"]) == ("best", "final")


def test_a_locked_database_costs_two_seconds_and_nothing_is_lost(
    run, small_run, caplog, monkeypatch
):
    mirror_all(run, SampleRun(children=1))
    monkeypatch.setattr(mirror_store, "BUSY_S", 0.2)
    blocker = sqlite3.connect(run.mirror_dir / DATABASE, isolation_level=None)
    try:
        blocker.execute("BEGIN EXCLUSIVE")
        mirror = OptunaMirror(run)
        started = time.monotonic()
        with caplog.at_level(logging.WARNING):
            for session, history in small_run.sessions.items():
                for evaluation in history:
                    mirror.add(session, evaluation)
            mirror.flush()
            mirror.flush()
        assert time.monotonic() - started < 2
        said = [r for r in caplog.records if r.name == "search.optuna_mirror"]
        assert len(said) == 1
        assert "locked" in said[0].getMessage()
        blocker.execute("ROLLBACK")
    finally:
        blocker.close()
    mirror.close()
    new = sum(e.is_new for history in small_run.sessions.values() for e in history)
    assert len(load(run).trials) >= new


def test_attempts_wait_after_a_failure(run, small_run, monkeypatch):
    attempts = []

    def fail(*_args):
        attempts.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mirror_store.MirrorStore, "open", fail)
    monkeypatch.setattr(optuna_mirror, "BATCH", 1)
    mirror = OptunaMirror(run)
    for evaluation in small_run.main:
        mirror.add("ppo-0", evaluation)
    assert len(attempts) == 1
    mirror.close()
    assert len(attempts) == 2


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_broken_database_does_not_stop_the_search(run, small_run, content, caplog):
    (run.mirror_dir / DATABASE).write_bytes(content)
    mirror_all(run, small_run)
    if content:
        assert "the search goes on" in caplog.text
    else:
        assert load(run).trials


def test_a_folder_that_cannot_be_made_does_not_stop_the_search(run, small_run, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    mirror_all(replace(run, mirror_dir=tmp_path / "file" / "results"), small_run)
    assert "the search goes on" in caplog.text


def test_no_mirror_without_a_folder(run, small_run):
    mirror_all(replace(run, mirror_dir=None), small_run)
    assert not (run.run_dir.parent / DATABASE).exists()


def test_it_ends_at_the_limit_and_says_so_once(run, small_run, monkeypatch, caplog):
    monkeypatch.setattr(optuna_mirror, "MAX_TRIALS", 4)
    mirror_all(run, small_run)
    mirror_all(run, small_run)
    assert len(load(run).trials) == 4
    assert [("ends at 4 trials" in r.getMessage()) for r in caplog.records] == [True, True]


def test_random_numbers_and_optuna_s_log_are_left_alone(run, small_run, capfd):
    level = logging.getLogger("optuna").level
    state = random.getstate()
    mirror_all(run, small_run)
    assert random.getstate() == state
    assert logging.getLogger("optuna").level == level
    assert "A new study created" not in capfd.readouterr().err


def test_quick_insertion_writes_what_optuna_writes(run, small_run, monkeypatch, tmp_path):
    assert storage_class() is not optuna.storages.RDBStorage, "this version of Optuna is known"
    mirror_all(run, small_run)
    quick = load(run).trials
    plain_run = Run(tmp_path / "plain" / "digits-s0", tmp_path / "plain", run.space)
    plain_run.run_dir.mkdir(parents=True)
    monkeypatch.setattr(optuna.storages.RDBStorage, "_set_trial_attr_without_commit", _other_form())
    assert storage_class() is optuna.storages.RDBStorage
    mirror_all(plain_run, small_run)
    plain = load(plain_run).trials
    assert len(quick) == len(plain) > 10
    for one, other in zip(quick, plain, strict=True):
        for name in ("state", "values", "params", "distributions", "user_attrs", "system_attrs"):
            assert getattr(one, name) == getattr(other, name)


def _other_form():
    own = optuna.storages.RDBStorage._set_trial_attr_without_commit
    return lambda self, *args: own(self, *args)


@pytest.mark.parametrize("name", ["what?", "100%", "50%20off", "{SCHEMA_VERSION}", "a b#c"])
def test_a_results_folder_may_have_any_name(run, small_run, tmp_path, name):
    """What a URL would read as a query or an escape, and Optuna as a field."""
    folder = tmp_path / "elsewhere" / name
    folder.mkdir(parents=True)
    run = replace(run, mirror_dir=folder)
    mirror_all(run, small_run)
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert (folder / DATABASE).is_file()
    assert len(load(run).trials) > 4


def test_dashboard_command_is_for_this_machine_only(tmp_path):
    (tmp_path / "optuna-dashboard").write_text("")
    command = dashboard_command(tmp_path, 8081, python=str(tmp_path / "python"))
    assert command[:2] == [str(tmp_path / "optuna-dashboard"), f"sqlite:///{tmp_path}/optuna.db"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "8081"
    assert command[command.index("--artifact-dir") + 1] == str(tmp_path / "artifacts")
    with pytest.raises(ValueError, match="1024 to 65535"):
        dashboard_command(tmp_path, 80, python="python")


def test_the_dashboard_reads_it(run, small_run):
    from optuna_dashboard import wsgi

    mirror_all(run, small_run)
    study = load(run)
    app = wsgi(
        study._storage, optuna.artifacts.FileSystemArtifactStore(run.mirror_dir / "artifacts")
    )
    answered = []

    def get(path: str) -> bytes:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x",
                   "SERVER_PORT": "1", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http"}  # fmt: skip
        return b"".join(app(environ, lambda status, headers, *_: answered.append(status)))

    listed = json.loads(get("/api/studies"))
    assert [s["study_name"] for s in listed["study_summaries"]] == ["digits-s0"]
    detail = json.loads(get(f"/api/studies/{study._study_id}"))
    assert len(detail["trials"]) == len(study.trials)
    complete = next(t for t in detail["trials"] if t["state"] == "Complete")
    (artifact,) = complete["artifacts"]
    path = f"/artifacts/{study._study_id}/{complete['trial_id']}/{artifact['artifact_id']}"
    assert ArchitectureDocument.from_json(get(path).decode()).digest in artifact["filename"]
    assert all(status.startswith("200") for status in answered)
