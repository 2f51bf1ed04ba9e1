"""The one way to render a page: a template, a typed view, and what every page needs.

``render(request, "train.html", view)`` returns the HTML in the language of the request (the server
sets it; see ``tunery.i18n``). A template can use ``view`` and these names:

    t("Sentence {n}", n=3)    the sentence in the language of the request
    words("Stop", ...)        a JSON block that passes these sentences to static/js/words.js
    url("/train")             a path with the prefix that a proxy adds
    static("js/api.js")       a versioned path of a static file
    human_bytes number percent duration moment short_name   formats for numbers, sizes and times
    lang theme nav path       used by base.html

Macros are imported by name: ``{% import "parts/ui.html" as ui %}``.
"""

from __future__ import annotations

import contextvars
import gzip
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tunery import __version__, env
from tunery.i18n import joined, language, t, translated
from tunery.state import set_aside
from tunery.web import assets, formats

THEME_COOKIE = "tunery_theme"
LANGUAGE_COOKIE = "tunery_lang"
THEMES = ("auto", "light", "dark")
SMALL_BYTES = 860
"""Below this size, compression does not reduce the bytes on the wire."""

_root: contextvars.ContextVar[str] = contextvars.ContextVar("root", default="")


class Place(NamedTuple):
    """One entry of the navigation."""

    path: str
    icon: str
    label: str
    key: str


def navigation() -> list[Place]:
    """The pages in the sidebar, in the language of the request; press ``g``, then ``key``."""
    return [
        Place("/", "home", t("Start"), "h"),
        Place("/models", "box", t("Models"), "m"),
        Place("/datasets", "data", t("Datasets"), "d"),
        Place("/train", "sliders", t("Train"), "t"),
        Place("/runs", "chart", t("Runs"), "r"),
        Place("/chat", "chat", t("Chat"), "c"),
        Place("/evaluate", "check", t("Evaluate"), "v"),
        Place("/export", "export", t("Export"), "e"),
        Place("/settings", "gear", t("Settings"), "s"),
    ]


def render(request: Request, template: str, view: Any = None, *, status: int = 200) -> HTMLResponse:
    """Render a page.

    Args:
        request: The request; determines the prefix, the theme and whether gzip is accepted.
        template: Name of a file in ``templates``.
        view: The page's own dataclass, seen as ``view``.
        status: HTTP status of the response.
    """
    root = str(request.scope.get("root_path") or "").rstrip("/")
    theme = request.cookies.get(THEME_COOKIE, "auto")
    path = request.scope["path"].removeprefix(root) or "/"
    before = _root.set(root)
    try:
        text = (
            environment()
            .get_template(template)
            .render(
                view=view,
                root=root,
                path=path,
                lang=language(),
                theme=theme if theme in THEMES else "auto",
                nav=navigation(),
                version=__version__,
                assets_version=assets.bundle().version,
            )
        )
    finally:
        _root.reset(before)
    return _answer(request, text.encode(), status)


def environment() -> Environment:
    """The template environment; the same object each time."""
    return _ENVIRONMENT


def words(*sentences: str) -> Markup:
    """Write sentences with their translations for ``t()`` of ``static/js/words.js``."""
    table = {sentence: translated(sentence) for sentence in sentences}
    text = json.dumps(table, ensure_ascii=False).replace("<", "\\u003c")
    return Markup('<script type="application/json" data-words>{}</script>').format(Markup(text))


def listed(names: Sequence[str]) -> str:
    """Names one after the other, with the comma of the current language."""
    return joined(*names, between=", ")


def data(name: str, value: Any) -> Markup:
    """Write plain data for ``data(name)`` of ``static/js/dom.js``."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return Markup('<script type="application/json" id="{}">{}</script>').format(name, Markup(text))


def url(path: str) -> str:
    """Prepend the prefix that a proxy adds to a path of this server."""
    return _root.get() + path


def static(name: str) -> str:
    """Return the versioned path of a static file, with the proxy's prefix."""
    return _root.get() + assets.address(name)


def _answer(request: Request, text: bytes, status: int) -> HTMLResponse:
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding, Cookie, Accept-Language"}
    if len(text) > SMALL_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        text = gzip.compress(text, 6, mtime=0)
    return HTMLResponse(text, status, headers)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("tunery.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=bool(os.environ.get(assets.DEVELOPING)),
    )
    made.globals |= {
        "t": t,
        "words": words,
        "data": data,
        "listed": listed,
        "url": url,
        "static": static,
        "human_bytes": env.human_bytes,
        "number": formats.number,
        "percent": formats.percent,
        "duration": formats.duration,
        "set_aside": set_aside,
        "moment": formats.moment,
        "short_name": formats.short_name,
        "short_names": formats.short_names,
    }
    return made


_ENVIRONMENT = _environment()
