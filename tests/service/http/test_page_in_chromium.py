"""The web page in a real browser, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from service.http.serving import http_server
from service.jobs.folder import JobsFolder
from service.jobs.spec import JobSpec
from service.jobs.store import JobStore

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def page(url: str) -> str:
    """What the browser makes of it, after a few seconds of the page's own time."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_jobs_are_listed_shown_and_text_stays_text(tmp_path: Path) -> None:
    folder = JobsFolder(tmp_path)
    store = JobStore(folder.database_url)
    store.submit("one", JobSpec(config={"name": "digits"}, seed=0))
    job = store.claim("<img src=x onerror=alert(1)>", 15)
    assert job is not None
    store.close()
    with http_server(folder.database_url, folder, "0", token_file=None) as url:
        listed = page(url)
        assert '<a href="#one">one</a>' in listed
        assert "STARTING" in listed
        shown = page(f"{url}/#one")
        assert "taken by &lt;img src=x onerror=alert(1)&gt;" in shown
        assert ">Pause</button>" in shown
        assert "Plots come with the first results" in shown


def test_without_the_token_there_is_only_the_question_for_it(tmp_path: Path) -> None:
    folder = JobsFolder(tmp_path)
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple")
    token.chmod(0o600)
    with http_server(folder.database_url, folder, "0", token_file=token) as url:
        asked = page(url)
        assert '<form id="login">' in asked
        assert "jobs</h2>" not in asked
