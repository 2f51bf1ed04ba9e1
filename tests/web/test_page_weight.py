"""What a browser with an empty cache transfers for each page, compressed as served.

Counted: the HTML, its stylesheets and icon, its scripts and every module that they import, and the
worker of the live channel. A page with a chart may weigh twice as much. ``-s`` shows the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from posixpath import dirname, normpath

import pytest
from starlette.testclient import TestClient
from tests.web.test_pages_contract import paths
from tests.web.test_runs_api import write_run

from tunery.web import assets

PLAIN_BYTES = 60_000
CHART_BYTES = 120_000
FORM_BYTES = 72_000
"""The form holds the fields of every kind: 14 optimizers, 8 methods and 6 quantizations."""
FORM = "js/pages/train.js"
CHART = "vendor/uplot/uPlot.iife.min.js"
WITH_NAMES = (
    "/models/demo",
    "/datasets/identity",
    "/datasets/identity?tab=rows",
    "/datasets/identity?tab=checks",
    "/runs/good",
    "/runs/good?tab=samples",
    "/runs/good?tab=log",
    "/compare?ids=good,other",
    "/nowhere",
)
"""Pages whose address holds a name; the others are found by walking the routes."""

_LINKED = re.compile(r'<(?:link|script|use)[^>]+?(?:href|src)="(/static/[^"#]+)"')
_IMPORTED = re.compile(r'\b(?:from\s+|import\s*\(?\s*)"(\.[^"]+)"')
_NAMED = re.compile(r'["`](?:[^"`]*/)?((?:js|vendor)/[\w./-]+\.(?:js|css))["`]')
_STYLE_URL = re.compile(r'url\(["\']?([^"\')]+)')


@dataclass
class Weight:
    """What one page transfers, in bytes by kind."""

    html: int
    files: dict[str, int] = field(default_factory=dict[str, int])

    def of(self, suffix: str) -> int:
        """All files of one kind."""
        return sum(size for name, size in self.files.items() if name.endswith(suffix))

    @property
    def total(self) -> int:
        """Everything."""
        return self.html + sum(self.files.values())

    @property
    def most(self) -> int:
        """What it may weigh."""
        if CHART in self.files:
            return CHART_BYTES
        return FORM_BYTES if FORM in self.files else PLAIN_BYTES


def weigh(client: TestClient, path: str) -> Weight:
    """Fetch a page and everything that it needs, as a browser does, and count what was sent."""
    page = client.get(path, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
    weight = Weight(sent(page))
    waiting = [re.sub(r"^/static/[^/]+/", "", link) for link in _LINKED.findall(page.text)]
    while waiting:
        name = waiting.pop()
        if name in weight.files:
            continue
        answer = client.get(assets.address(name), headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200, name
        weight.files[name] = sent(answer)
        waiting += needed(name, answer.text)
    return weight


def sent(answer) -> int:
    """Bytes of an answer's body as they crossed the wire."""
    assert answer.headers.get("content-encoding") == "gzip" or len(answer.content) < 2_000
    return int(answer.headers["content-length"])


def needed(name: str, text: str) -> list[str]:
    """The files that a script or a stylesheet asks for."""
    if name.endswith(".css"):
        found = [link for link in _STYLE_URL.findall(text) if not link.startswith(("data:", "#"))]
        return [normpath(f"{dirname(name)}/{link}") for link in found]
    if not name.endswith(".js") or name.startswith("vendor/"):
        return []
    code = re.sub(r"/\*[\s\S]*?\*/|^[ \t]*//.*$", "", text, flags=re.MULTILINE)
    imported = [normpath(f"{dirname(name)}/{link}") for link in _IMPORTED.findall(code)]
    return [*imported, *_NAMED.findall(code)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_light_in_an_empty_cache(
    demo_home, client: TestClient, capsys: pytest.CaptureFixture[str], language: str
) -> None:
    write_run("good", steps=200)
    write_run("other", steps=200)
    client.cookies.set("tunery_lang", language)
    plain = [path for path in paths() if path not in ("/compare", "/datasets/-/add")]
    weights = {path: weigh(client, path) for path in (*plain, *WITH_NAMES)}
    with capsys.disabled():
        print(f"\n{table(weights)}\n{lines_of_script()}")
    heavy = {path: weight.total for path, weight in weights.items() if weight.total > weight.most}
    assert heavy == {}
    assert weights["/runs/good"].most == CHART_BYTES
    assert weights["/chat"].most == PLAIN_BYTES


def test_what_a_script_asks_for_is_followed() -> None:
    code = """// import "./no.js";
    /** @typedef {import("./types.js").T} T */
import { a } from "../a.js";
import {
  b,
} from "./b.js";
const worker = new SharedWorker(`${place}/js/live-worker.js`);
"""
    assert needed("js/pages/x.js", code) == ["js/a.js", "js/pages/b.js", "js/live-worker.js"]
    assert needed("css/x.css", 'a { background: url("../icon.svg") }') == ["icon.svg"]


def table(weights: dict[str, Weight]) -> str:
    """The weights for people, in bytes."""
    head = f"{'page':34}{'html':>8}{'css':>8}{'js':>8}{'total':>8}{'limit':>8}"
    return "\n".join(
        [head]
        + [
            f"{path:34}{one.html:8}{one.of('.css'):8}{one.of('.js'):8}{one.total:8}{one.most:8}"
            for path, one in weights.items()
        ]
    )


def lines_of_script() -> str:
    """How long the page's own scripts are; the design wished for 2,000 lines."""
    own = {
        name: asset.body.count(b"\n")
        for name, asset in assets.bundle().files.items()
        if name.endswith(".js") and not name.startswith("vendor/")
    }
    return f"{len(own)} scripts of {sum(own.values())} lines (the design's wish: 2000)"
