"""Requests made from the OpenAPI document, good and bad: no answer is a 5xx, and each is one that the document knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings

from service.http.app import make_app
from service.jobs.folder import JobsFolder
from service.jobs.spec import JobSpec
from service.jobs.store import JobStore
from service.jobs.submitting import search_spec

schemathesis = pytest.importorskip("schemathesis")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TOKEN = "correct-horse-battery-staple"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
CONFIG: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "configs" / "digits-quick.yaml").read_text()
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    search_spec(CONFIG, source="config")  # loads what takes seconds to load
    folder = JobsFolder(tmp_path_factory.mktemp("results"))
    store = JobStore(folder.database_url)
    for name in ("0", "a", "one"):  # ids as a generator of requests finds them
        store.submit(name, JobSpec(config=CONFIG, seed=0))
        store.cancel(name)  # its stream ends
    yield make_app(store, folder, token=TOKEN, hosts={"localhost", "testserver"})
    store.close()


@pytest.fixture(scope="module")
def document(app: FastAPI) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=AUTH)


def cases() -> list[tuple[str, str, str]]:
    """(method, path, mode) of each operation; nothing can be wrong with requests of those that take nothing."""
    nothing = JobsFolder(Path())
    app = make_app(None, nothing, token=None, hosts=())  # type: ignore[arg-type]
    found = []
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            takes = operation.get("parameters") or "requestBody" in operation
            modes = ("positive", "negative") if takes else ("positive",)
            found += [(method.upper(), path, mode) for mode in modes]
    return found


@pytest.mark.parametrize(("method", "path", "mode"), cases())
def test_answers_are_what_the_document_says(
    document: Any, method: str, path: str, mode: str
) -> None:
    operation = document[path][method]
    # what a config may hold, its own validation says, not the document
    excluded = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    def answers(case: Any) -> None:
        case.call_and_validate(headers=AUTH, excluded_checks=excluded, timeout=60)

    answers()
