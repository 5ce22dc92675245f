"""One HTML file that works offline: styles, plotly.js and all figures inside, and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from archspace import write_atomic
from search.markup import Html, element, joined

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_HERE = Path(__file__).parent


class Page:
    """Collects the parts of a page; figures are placed with `figure` and drawn when the page is opened."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[Html] = []
        self._figures: dict[str, str] = {}

    def add(self, *parts: Html) -> None:
        """Append parts."""
        self._parts.extend(parts)

    def figure(self, key: str, figure: Figure, *, description: str) -> Html:
        """The place of a figure; put it into a part. `description` is read to those who cannot see it."""
        assert key not in self._figures, f"figure {key} is there already"
        self._figures[key] = figure.to_json()
        return element(
            "div",
            element("noscript", "The figure needs JavaScript."),
            id=f"figure-{key}",
            class_="figure",
            role="img",
            aria_label=description,
        )

    def html(self) -> str:
        """The whole document."""
        scripts = [_plotly(), _asset("page.js")] if self._figures else []
        data = [
            element("script", _json_for_script(text), type="application/json", data_figure=key)
            for key, text in self._figures.items()
        ]
        head = element(
            "head",
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="referrer" content="no-referrer">'),
            element("title", self._title),
            element("style", Html(_asset("page.css"))),
        )
        body = element(
            "body",
            element("main", *self._parts),
            *data,
            *(element("script", Html(script)) for script in scripts),
        )
        return "<!DOCTYPE html>\n" + joined([Html(f'<html lang="en">{head}{body}</html>')]) + "\n"

    def write(self, path: Path) -> Path:
        """Write the page whole or not at all."""
        write_atomic(path, self.html())
        return path


def _policy(scripts: list[str]) -> str:
    """Only these scripts run and nothing is loaded. Plotly sets styles from code, hence ``unsafe-inline``."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json_for_script(text: str) -> Html:
    """JSON that cannot end its script element, whatever strings are in it."""
    json.loads(text)
    return Html(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    # The HTML parser would turn carriage returns into line feeds and so change the script's hash.
    return script.replace("\r\n", "\n").replace("\r", "\n")


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
