"""Optuna's dashboard in a process of its own: opening a large study keeps an interpreter busy for ten seconds.

It answers on a socket in a folder that nobody else may enter, and ends with the server: its standard input is a pipe from there.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from service.http.guard import App

# As in `search.mirror_store`, which cannot be imported without torch; a test holds them together.
DATABASE, ARTIFACTS = "optuna.db", "artifacts"

WORKERS = 4
"""Threads. Opening a large study keeps one busy for seconds."""


def main() -> None:
    """``python -m service.http.dashboard_worker RESULTS SOCKET``; says in a line of JSON on standard output how that went."""
    results, address = Path(sys.argv[1]), Path(sys.argv[2])
    threading.Thread(target=_end_with_server, args=(address.parent,), daemon=True).start()
    import uvicorn

    try:
        app = make_dashboard(results)
    except Exception as error:  # of a file that is damaged, or another version's
        _say({"error": str(error).partition("\n")[0]})
        return
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen(128)
        _say({"error": None})
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listening])


def make_dashboard(results: Path) -> App:
    """The dashboard over a results folder, unguarded. Raises what Optuna and SQLAlchemy do."""
    from a2wsgi import WSGIMiddleware
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import RDBStorage, get_storage
    from optuna_dashboard import wsgi
    from sqlalchemy import QueuePool

    storage = RDBStorage(
        "sqlite://",
        engine_kwargs={"creator": lambda: connect(results), "poolclass": QueuePool},
        skip_table_creation=True,
    )
    # get_storage adds a cache: a copy's trials never change, so only those that are new are read again
    app: Any = wsgi(get_storage(storage), FileSystemArtifactStore(results.resolve() / ARTIFACTS))
    return cast("App", WSGIMiddleware(app, workers=WORKERS))


def connect(results: Path) -> sqlite3.Connection:
    """To the database, for reading. Raises sqlite3.OperationalError where there is none."""
    address = f"{(results / DATABASE).resolve().as_uri()}?mode=ro"
    return sqlite3.connect(address, uri=True, check_same_thread=False)


def _say(words: dict[str, Any]) -> None:
    """The last words on standard output, whose reader then goes away."""
    print(json.dumps(words), flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_with_server(folder: Path) -> None:
    """However that ends; what is being computed has nobody to go to then."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
