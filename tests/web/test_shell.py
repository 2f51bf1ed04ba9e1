"""The frame of every page, and the files it is made of."""

from __future__ import annotations

import gzip
import hashlib
import json
import re

import pytest
from starlette.testclient import TestClient

from tunery.web import assets, formats
from tunery.web.render import environment, words

UPLOT = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""SHA-256 of the files of the npm package uplot@1.6.32."""


def test_the_vendored_chart_library_is_the_published_one():
    folder = assets.FOLDER / "vendor" / "uplot"
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert found == UPLOT


def test_the_stylesheet_draws_three_themes_and_obeys_the_system():
    css = (assets.FOLDER / "app.css").read_text()
    assert 'data-theme="dark"' in css
    assert "prefers-color-scheme: dark" in css
    assert "prefers-reduced-motion" in css
    dark = re.findall(r":root\[data-theme=\"(?:dark|auto)\"\] \{(.*?)\}", css, re.DOTALL)
    assert len(dark) == 2
    assert " ".join(dark[0].split()) == " ".join(dark[1].split())


def test_nothing_in_the_files_names_another_host():
    for name, asset in assets.bundle().files.items():
        if name.startswith("vendor/"):
            continue
        found = re.findall(rb"https?://[^\s\"'`)]+", asset.body)
        assert [address for address in found if b"www.w3.org" not in address] == [], name


def test_static_files_are_kept_for_ever_under_the_name_of_their_content(client: TestClient):
    address = assets.address("app.css")
    answer = client.get(address)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert client.get("/static/old/app.css").headers["cache-control"] == "no-cache"
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == assets.bundle().files["app.css"].body


@pytest.mark.parametrize(
    "path", ["../app.py", "..%2fapp.py", "%2e%2e/render.py", "/etc/passwd", "js", ""]
)
def test_static_paths_lead_nowhere_else(anonymous: TestClient, path: str):
    assert anonymous.get(f"/static/x/{path}").status_code == 404


def test_the_version_of_the_files_is_told_without_a_session(anonymous: TestClient):
    assert anonymous.get("/static/version").json() == {"version": assets.bundle().version}


def test_a_page_is_compressed_and_its_parts_are_named_by_version(client: TestClient):
    answer = client.get("/")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "no-store"
    linked = re.findall(r'(?:src|href)="(/static/[^"#]+)', answer.text)
    assert linked
    assert all(path.startswith(f"/static/{assets.bundle().version}/") for path in linked)


def test_there_is_no_inline_style_or_script(client: TestClient):
    for path in ("/", "/settings", "/login"):
        text = client.get(path).text
        assert not re.search(r"<[^>]+\sstyle=", text), path
        assert not re.search(r"<[^>]+\son\w+=", text), path
        scripts = re.findall(r"<script\b([^>]*)>", text)
        assert all("src=" in each or "application/json" in each for each in scripts), path


def test_language_and_theme_come_from_the_browsers_cookies(client: TestClient):
    client.cookies.set("tunery_lang", "zh")
    client.cookies.set("tunery_theme", "dark")
    text = client.get("/").text
    assert '<html lang="zh-CN" data-theme="dark">' in text
    assert "数据集" in text
    client.cookies.set("tunery_theme", '"><script>')
    assert 'data-theme="auto"' in client.get("/").text


def test_words_cannot_end_their_block():
    block = words("</script><b>")
    assert "</script><b>" not in block.removesuffix("</script>")
    assert json.loads(re.sub(r"<[^>]+>", "", block)) == {"</script><b>": "</script><b>"}


def test_what_stands_in_a_view_is_text_and_not_markup():
    source = (
        '{% import "parts/ui.html" as ui %}{{ ui.badge("done", text) }}{{ ui.kv([(text, text)]) }}'
    )
    evil = "<img src=x onerror=alert(1)>"
    drawn = environment().from_string(source).render(text=evil)
    assert "<img" not in drawn


def test_an_error_stands_at_its_field():
    source = (
        '{% import "parts/ui.html" as ui %}'
        '{{ ui.field("a.b", "Label", kind=kind, options=["x"], error="Wrong", help="Help") }}'
    )
    for kind in ("text", "number", "select", "area", "password", "segmented", "switch"):
        drawn = environment().from_string(source).render(kind=kind)
        assert 'id="f-a-b-error" role="alert">Wrong<' in drawn, kind
        assert 'aria-describedby="f-a-b-help f-a-b-error"' in drawn, kind


def test_the_shell_and_start_weigh_little_on_the_wire(client: TestClient):
    page = len(gzip.compress(client.get("/").content))
    names = ["app.css", "icons.svg", "icon.svg", "js/pages/start.js"]
    names += [
        f"js/{n}.js" for n in ("shell", "dom", "live", "live-worker", "stream", "words", "api")
    ]
    whole = page + sum(len(assets.bundle().files[name].gzipped) for name in names)
    assert whole < 60_000
    chart = assets.bundle().files
    assert whole + len(chart["vendor/uplot/uPlot.iife.min.js"].gzipped) < 120_000


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (1930, "1,930"),
        (0.6931, "0.693"),
        (1e-4, "1e-4"),
        (123.456, "123.5"),
        (None, "–"),
        (2.0, "2"),
    ],
)
def test_numbers_are_written_one_way(given: float | None, text: str):
    assert formats.number(given) == text


def test_times_are_written_one_way():
    assert [formats.duration(s) for s in (8, 208, 7500, 200_000)] == [
        "8 s", "3 min 28 s", "2 h 5 min", "2 d 7 h",
    ]  # fmt: skip
    assert formats.duration(float("nan")) == "–"
