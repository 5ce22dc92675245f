"""HTML from values: text is always escaped, and only what this file made counts as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence

_NAME = re.compile(r"[a-z][a-z0-9-]*")


class Html(str):
    """Text that is HTML already. Everything else is escaped where it is put in."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Html:
    """``<tag attributes>children</tag>``; a trailing underscore in an attribute's name is dropped (``class_``)."""
    assert _NAME.fullmatch(tag), f"not a tag: {tag}"
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
    )
    return Html(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Html:
    """Children one after the other, plain text escaped."""
    return Html(
        "".join(child if isinstance(child, Html) else html.escape(child) for child in children)
    )


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    text_columns: Collection[int] = (),
) -> Html:
    """A table that scrolls sideways on narrow screens; the first column is its rows' head.

    Cells are aligned right, as numbers want it; those of `text_columns` left, and wrapped.
    """
    head = element(
        "tr", *(_cell("th", c, i in text_columns, scope="col") for i, c in enumerate(columns))
    )
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(_cell("td", cell, index in text_columns) for index, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    ]
    title = [element("caption", caption)] if caption else []
    content = element("table", *title, element("thead", head), element("tbody", *body))
    return element("div", content, class_="scroll", tabindex="0")


def _cell(tag: str, content: str, is_text: bool, **attributes: str) -> Html:
    style = {"class_": "text"} if is_text else {}
    return element(tag, content, **style, **attributes)


def section(title: str, *children: str, key: str) -> Html:
    """A headed part of a page; `key` is its anchor."""
    return element("section", element("h2", title), *children, id=key)


def paragraph(*children: str, kind: str = "") -> Html:
    """A paragraph; `kind` is a style of the page: note, warning."""
    return element("p", *children, class_=kind) if kind else element("p", *children)
