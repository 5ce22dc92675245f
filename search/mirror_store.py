"""The mirror's study in an SQLite file, and its artifacts beside it."""

from __future__ import annotations

import json
import logging
import random
import shutil
import sqlite3
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from archspace import Decision, sqlite_url, write_atomic
from search.mirror_trials import MirrorTrial, Values

if TYPE_CHECKING:
    import optuna

DATABASE = "optuna.db"
ARTIFACTS = "artifacts"
STUDY_FILE = "mirror.json"
"""In the run's folder: says which study is this run's, so that a run of the same name elsewhere is another."""

BUSY_S = 1.0
"""How long to wait for another writer. Short: the search waits meanwhile."""

_ARTIFACT_NAMES = uuid.UUID("5f0a64b5-0c4e-4d0e-a52c-6a3dd0b1f3c8")


class MirrorStore:
    """One run's study. Methods raise whatever Optuna, SQLite or the file system do."""

    def __init__(
        self,
        study: optuna.Study,
        storage: optuna.storages.RDBStorage,
        directory: Path,
        decisions: Sequence[Decision],
    ) -> None:
        from optuna.distributions import CategoricalDistribution

        self._study = study
        self._storage = storage
        self._directory = directory
        self._distributions = {d.name: CategoricalDistribution(d.choices) for d in decisions}
        known = study.get_trials(deepcopy=False)
        self._keys = {str(trial.user_attrs.get("key")) for trial in known}

    @classmethod
    def open(cls, directory: Path, run_dir: Path, decisions: Sequence[Decision]) -> MirrorStore:
        """The run's study, made at the first call."""
        import optuna
        from sqlalchemy import event

        from search.mirror_insert import storage_class

        directory.mkdir(parents=True, exist_ok=True)
        (directory / ARTIFACTS).mkdir(exist_ok=True)
        database = directory / DATABASE
        _check_writable(database)
        with _apart():
            storage = storage_class()(
                database_url(directory), engine_kwargs={"connect_args": {"timeout": BUSY_S}}
            )
            try:
                event.listen(storage.engine, "connect", _write_ahead)
                storage.engine.dispose()  # connections from before the listener
                study = optuna.create_study(
                    study_name=_study_name(run_dir, storage),
                    storage=storage,
                    directions=["maximize", "minimize", "minimize"],
                    load_if_exists=True,
                )
                study.set_metric_names(list(Values._fields))
                return cls(study, storage, directory, decisions)
            except BaseException:
                storage.engine.dispose()
                raise

    @property
    def size(self) -> int:
        """Number of trials."""
        return len(self._keys)

    def has(self, key: str) -> bool:
        """Whether a trial of this key is there."""
        return key in self._keys

    def add(self, trial: MirrorTrial) -> None:
        """Write a trial with all its attributes at once; nothing if its key is there already."""
        import optuna

        if self.has(trial.key):
            return
        # Optuna would try five times, up to two seconds apart: a second of waiting is enough here.
        _check_writable(self._directory / DATABASE)
        states = optuna.trial.TrialState
        state = {
            "complete": states.COMPLETE,
            "reduced": states.PRUNED,
            "failed": states.FAIL,
            "rejected": states.PRUNED,
        }
        with _apart():
            self._study.add_trial(
                optuna.create_trial(
                    state=state[trial.state],
                    values=list(trial.values) if trial.values else None,
                    params=dict(trial.params),
                    distributions=dict(self._distributions),
                    user_attrs={"key": trial.key, **trial.attributes},
                    system_attrs=self._artifact(trial),
                )
            )
        self._keys.add(trial.key)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _artifact(self, trial: MirrorTrial) -> dict[str, str]:
        """Write the architecture file and return the attribute that `optuna.artifacts.upload_artifact` would set.

        That function sets it in a transaction of its own, after the trial is there: a kill in between would leave
        trials without their file for ever. The name depends on study and key, so a repetition writes the same file.
        """
        if trial.document is None:
            return {}
        name = str(uuid.uuid5(_ARTIFACT_NAMES, f"{self._study.study_name}/{trial.key}"))
        path = self._directory / ARTIFACTS / name
        path.write_text(trial.document(), encoding="utf-8")  # before the trial that points to it
        meta = {
            "artifact_id": name,
            "filename": f"{trial.attributes['digest']}.json",
            "mimetype": "application/json",
            "encoding": None,
        }
        return {f"artifacts:{name}": json.dumps(meta)}


def database_url(directory: Path) -> str:
    """Of the database in a results folder."""
    return sqlite_url(directory.resolve() / DATABASE)


def dashboard_command(directory: Path, port: int, *, python: str) -> list[str]:
    """How to start Optuna's dashboard over the runs in `directory`, for this machine only.

    Args:
        directory: the results folder, with ``optuna.db``.
        port: 1024-65535.
        python: the interpreter; the dashboard's script is expected beside it, else on the path.

    Raises:
        ValueError: a port out of range, or no dashboard installed.
    """
    if not 1024 <= port <= 65535:
        raise ValueError(f"expected a port from 1024 to 65535, got {port}")
    beside = Path(python).with_name("optuna-dashboard")
    script = str(beside) if beside.is_file() else shutil.which("optuna-dashboard")
    if script is None:
        raise ValueError("optuna-dashboard is not installed: pip install optuna-dashboard")
    return [
        script,
        database_url(directory),
        "--host",
        "127.0.0.1",  # it has no authentication
        "--port",
        str(port),
        "--artifact-dir",
        str(directory.resolve() / ARTIFACTS),
    ]


def _study_name(run_dir: Path, storage: optuna.storages.RDBStorage) -> str:
    """The name that the run's folder remembers, else a free one, which it then remembers."""
    path = run_dir / STUDY_FILE
    if path.is_file():
        return str(json.loads(path.read_text(encoding="utf-8"))["study"])
    taken = {study.study_name for study in storage.get_all_studies()}
    base = run_dir.resolve().name
    names = (base if i == 1 else f"{base} ({i})" for i in range(1, len(taken) + 2))
    name = next(name for name in names if name not in taken)
    write_atomic(path, json.dumps({"study": name}) + "\n")
    return name


def _check_writable(database: Path) -> None:
    """Raise sqlite3.OperationalError after `BUSY_S` if another writer holds the database."""
    with closing(sqlite3.connect(database, timeout=BUSY_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _write_ahead(connection: sqlite3.Connection, _record: object) -> None:
    """A kill loses nothing, a power cut at most the last trials of this copy: worth 20 ms a trial on some disks."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def _apart() -> Iterator[None]:
    """Keep Optuna's messages, warnings and use of Python's random numbers away from the search."""
    import optuna

    logger = logging.getLogger("optuna")
    level, state = logger.level, random.getstate()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        random.setstate(state)
        logger.setLevel(level)
