"""What holds for every page, those of tomorrow too: found by walking the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from tests.web.conftest import BASE, log_in

from tunery.server.settings import ServerSettings
from tunery.web import assets
from tunery.web.app import create
from tunery.web.render import navigation
from tunery.web.routes import PAGES

LINES = 400
NEEDS_MORE = ("/compare",)
"""Pages that ask for runs in their address, and say so."""


def paths() -> list[str]:
    """Every page that needs no name in its path."""
    return sorted(
        route.path
        for router in PAGES
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
        and "{" not in route.path and not route.path.startswith("/static")
        and "/-/" not in route.path
    )  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", paths())
def test_every_page_is_drawn_in_an_empty_home(client: TestClient, path: str, language: str):
    client.cookies.set("tunery_lang", language)
    answer = client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == (422 if path in NEEDS_MORE else 200)
    page = Page(answer.text)
    assert page.count["h1"] == 1
    assert page.lang == ("zh-CN" if language == "zh" else "en")
    assert page.double_ids == []
    assert page.unnamed == []
    assert page.inline == []
    assert page.missing_files == []


@pytest.mark.parametrize("path", paths())
def test_every_page_keeps_a_proxys_prefix(prefixed: TestClient, path: str):
    answer = prefixed.get(f"/proxy/7860{path}", headers={"Accept": "text/html"})
    links = [link for link in Page(answer.text).links if link.startswith("/")]
    assert [link for link in links if not link.startswith("/proxy/7860")] == []


def test_every_place_of_the_navigation_is_a_page():
    assert [place.path for place in navigation() if place.path not in paths()] == []
    keys = [place.key for place in navigation()]
    assert len(keys) == len(set(keys))


def test_scripts_are_readable_and_import_only_their_own():
    for name, asset in assets.bundle().files.items():
        if not name.endswith(".js") or name.startswith("vendor/"):
            continue
        text = asset.body.decode()
        assert text.startswith("// @ts-check\n/**"), name
        assert text.count("\n") <= LINES, name
        assert not re.search(r"(inner|outer)HTML\s*\+?=[^=]|insertAdjacentHTML", text), name
        assert not re.search(r"\beval\(|new Function\(|document\.write\(", text), name
        for imported in re.findall(r'(?:from|import)\s+"([^"]+)"', text):
            assert imported.startswith("."), name
            target = _join(name, imported)
            assert target in assets.bundle().files, f"{name} imports {imported}"


@pytest.fixture
def prefixed(home: Path) -> Iterator[TestClient]:
    """A browser behind a proxy that keeps the prefix."""
    app = create(ServerSettings(root_path="/proxy/7860"))
    with log_in(TestClient(app, BASE)) as browser:
        yield browser


class Page(HTMLParser):
    """What a page must not do, read from its HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {"h1": 0}
        self.lang = ""
        self.inline: list[str] = []
        self.links: list[str] = []
        self._ids: list[str] = []
        self._labels: set[str] = set()
        self._controls: list[dict[str, str | None]] = []
        self._in_label = 0
        self._in_template = 0
        self.feed(text)

    @property
    def double_ids(self) -> list[str]:
        """Ids that stand twice."""
        return sorted({each for each in self._ids if self._ids.count(each) > 1})

    @property
    def unnamed(self) -> list[str]:
        """Controls that no label names."""
        return [str(each) for each in self._controls if each.get("id") not in self._labels]

    @property
    def missing_files(self) -> list[str]:
        """Static files that are linked and are not there."""
        names = (re.sub(r"^/static/[^/]+/|#.*$", "", link) for link in self._static())
        return [name for name in names if name not in assets.bundle().files]

    def _static(self) -> Iterator[str]:
        return (link for link in self.links if link.startswith("/static/"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        given = dict(attrs)
        self._in_template += tag == "template"
        if self._in_template:
            return  # not in the document until a script puts it there
        self.count[tag] = self.count.get(tag, 0) + 1
        self.lang = self.lang or (given.get("lang") or "" if tag == "html" else "")
        self.links += [given[name] or "" for name in ("href", "src") if given.get(name)]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if given.get("id"):
            self._ids.append(str(given["id"]))
        if tag == "label":
            self._in_label += 1
            self._labels.add(str(given.get("for")))
        named = given.get("aria-label") or given.get("aria-labelledby") or self._in_label
        hidden = given.get("type") in ("hidden", "submit", "button") or "hidden" in given
        if tag in ("input", "select", "textarea") and not named and not hidden:
            self._controls.append(given)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        self._in_template -= tag == "template"
        if tag == "label" and not self._in_template:
            self._in_label -= 1


def _join(name: str, imported: str) -> str:
    parts = name.split("/")[:-1]
    for part in imported.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
