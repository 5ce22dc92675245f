"""Answers leave at once."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2

from service.http.serving import http_server
from service.jobs.folder import JobsFolder


def test_answers_are_not_held_back_until_the_client_acknowledges(tmp_path: Path) -> None:
    """An answer is two writes; with Nagle's algorithm, the second waits 40 ms for the first one's acknowledgement."""
    folder = JobsFolder(tmp_path)
    with (
        http_server(folder.database_url, folder, "0", token_file=None) as url,
        httpx2.Client() as client,
    ):
        seconds = []
        for _ in range(40):  # a new connection acknowledges at once for a while
            began = time.perf_counter()
            assert client.get(f"{url}/api/v1/jobs").status_code == 200
            seconds.append(time.perf_counter() - began)
    assert min(seconds[-15:]) < 0.03
