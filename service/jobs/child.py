"""The process of one job: the command line, which stops when the server that started it is gone.

Its standard input is a pipe from the server. When the server dies, however it dies, the pipe ends, and the search stops as it does on
Ctrl-C: what was paid for is kept, and whoever takes the job next goes on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback

FAILED = 70
"""Exit code of a failure that this program noticed itself: 1 is what a library ends the process with, as Ray does when its node is gone."""


def main() -> None:
    """``python -m service.jobs.child VERB …``."""
    threading.Thread(target=_stop_with_server, args=(sys.stdin.fileno(),), daemon=True).start()
    from service import cli

    try:
        cli.main(for_server=True)
    except SystemExit as ended:
        sys.exit(FAILED if ended.code == 1 else ended.code)
    except Exception:
        traceback.print_exc()
        sys.exit(FAILED)


def _stop_with_server(pipe: int) -> None:
    while os.read(pipe, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
