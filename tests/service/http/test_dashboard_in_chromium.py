"""Optuna's dashboard in a real browser, where there is one: the page's session opens it, and it works under our headers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.http.serving import http_server
from service.jobs.folder import JobsFolder
from service.jobs.spec import JobSpec
from service.jobs.store import JobStore
from tests.service.http.test_dashboard import TOKEN, mirror

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


class Browser:
    """A few words of the DevTools protocol, over Chromium's pipe: JSON that ends with a zero byte."""

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of = os.fdopen(to, "wb", 0), os.fdopen(of, "rb", 0)
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, tab: str | None = None, **params: Any) -> Any:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params}
        if tab is not None:
            asked["sessionId"] = tab
        self._to.write(json.dumps(asked).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def tab(self, url: str) -> str:
        target = self.call("Target.createTarget", url=url)["targetId"]
        tab = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Log", "Runtime", "Page"):
            self.call(f"{domain}.enable", str(tab))
        return str(tab)

    def run(self, tab: str, script: str) -> Any:
        """The value of `script`, a promise awaited."""
        answer = self.call("Runtime.evaluate", tab, expression=script, awaitPromise=True, returnByValue=True)  # fmt: skip
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, tab: str, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(tab, condition):
            assert time.monotonic() < end, self.run(tab, "document.body.innerText")
            time.sleep(0.2)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._of.fileno(), 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    there, to = os.pipe()
    of, back = os.pipe()
    command = (
        f"exec {CHROMIUM} --headless --no-sandbox --disable-gpu --remote-debugging-pipe "
        f'--user-data-dir="$1" about:blank 3<&{there} 4>&{back}'
    )
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", str(profile)],
        pass_fds=(there, back),
        stderr=subprocess.DEVNULL,
    )
    os.close(there)
    os.close(back)
    made = Browser(to, of)
    try:
        yield made
        made.call("Browser.close")
    finally:
        made._to.close()
        made._of.close()
        process.kill()
        process.wait()


def test_from_the_page_into_the_dashboard(tmp_path: Path) -> None:
    folder = JobsFolder(tmp_path / "results")
    for run in ("one", "two"):
        mirror(folder.results, run)
    store = JobStore(folder.database_url)
    for job in ("one", "two", "three"):
        store.submit(job, JobSpec(config={"name": job}, seed=0))
    store.close()
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with (
        http_server(folder.database_url, folder, "0", token_file=token) as url,
        browser(tmp_path / "profile") as chromium,
    ):
        early = chromium.tab(f"{url}/dashboard")
        chromium.wait(early, "document.body.innerText.includes('asks for the token')")

        page = chromium.tab(url)
        chromium.wait(page, "document.querySelector('#login:not([hidden])') !== null")
        chromium.run(page, f"document.querySelector('#token').value = '{TOKEN}'")
        chromium.run(page, "document.querySelector('#login button').click()")
        chromium.wait(page, "document.querySelectorAll('a[target=_blank]').length == 4")
        links = "[...document.querySelectorAll('a[target=_blank]')].map((a) => a.pathname + a.search + ' ' + a.rel)"
        assert chromium.run(page, links) == [
            "/dashboard noopener",
            "/dashboard/compare-studies?ids=2,1 noopener",
            "/dashboard/studies/2 noopener",
            "/dashboard/studies/1 noopener",
        ]
        assert chromium.run(page, "document.cookie") == ""  # no script sees the session

        study = chromium.tab(f"{url}/dashboard/studies/1")
        chromium.wait(study, "document.querySelectorAll('svg.main-svg, .plotly canvas').length > 0")
        assert chromium.run(study, "fetch('/api/v1/jobs').then((answer) => answer.status)") == 401
        delete = "fetch('/api/studies/1', {method: 'DELETE'}).then((answer) => answer.status)"
        assert chromium.run(study, delete) == 403
        elsewhere = "fetch('http://127.0.0.2:1/').then(() => 'sent', () => 'refused')"
        before = [event for event in chromium.events if _is_refusal(event)]
        assert before == []  # it needs nothing that the headers forbid
        assert chromium.run(study, elsewhere) == "refused"
        chromium.run(study, "1")
        assert any(_is_refusal(event) for event in chromium.events)

        chromium.run(page, "document.querySelector('#logout').click()")
        gone = "fetch('/api/studies').then((answer) => answer.status)"
        chromium.wait(study, f"{gone}.then((status) => status == 401)")


def _is_refusal(event: dict[str, Any]) -> bool:
    """Whether the browser says that a content security policy was not kept to."""
    return "Content Security Policy" in json.dumps(event)
