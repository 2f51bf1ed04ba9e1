"""Every page and every answer that the browser shows names fields and buttons, never commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.contract.test_page_words import TERMINAL
from tests.web.routes_of import filled, routes
from tests.web.test_runs_api import write_run

from tunery.i18n import t
from tunery.jobs import folder as jobs
from tunery.runs.events import EventWriter
from tunery.workers.log import LogWriter

COMMANDS = {"command", "yaml", "flag"}
"""What is meant for a terminal or a file, and shown as such, with a button that copies it."""
NOT_SHOWN = ("/events", "/openapi", "/docs", "/static", "/report", "/archive")


@pytest.fixture
def lived_in(demo_home: Path, client: TestClient) -> Path:
    """A home with what goes wrong: an interrupted and a failed run, a download, odd columns."""
    write_run("interrupted", status="")
    with EventWriter(write_run("failed", status="").events_file) as log:
        fix = t("Stop it first: tunery runs stop {run}", run="failed")
        log.write("status", status="failed", reason=t("disk full"), fix=fix)
    job = jobs.create("download", {"name": "a/b"}, "a/b", resumable=True)
    with LogWriter(job.events_file, required=jobs.EVENTS, statuses=jobs.STATUSES) as log:
        fix = t("Check the network or choose a mirror with HF_ENDPOINT, then run again.")
        log.write("status", status="failed", reason=t("disk full"), fix=fix)
    rows = [{"instruction": f"q{n}", "output": "a", "note": "n"} for n in range(20)]
    text = "\n".join(json.dumps(row) for row in rows)
    source = client.post("/api/v1/datasets/paste", json={"text": text}).json()["source"]
    assert client.post("/api/v1/datasets", json={"source": source, "name": "shop"}).is_success
    return demo_home


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_view_of_the_browser_names_a_command(
    app: FastAPI, client: TestClient, lived_in: Path, own_pool: None, language: str
) -> None:
    client.cookies.set("tunery_lang", language)
    client.put("/api/v1/drafts/draft", json={"fields": {"data.train": ["shop"]}})
    seen: dict[str, list[str]] = {}
    for method, path in routes(app):
        if method != "GET" or path.startswith("/v1") or any(part in path for part in NOT_SHOWN):
            continue
        for name in ("shop", "failed", "interrupted", "draft") if "{" in path else ("",):
            address = filled(path, name)
            html = {} if path.startswith("/api/") else {"Accept": "text/html"}
            seen[address] = list(_said(client.get(address, headers=html)))
    seen["plan"] = list(_said(client.post("/api/v1/drafts/draft/plan", json={})))
    events = client.get("/api/v1/events/poll", params={"topics": "runs,jobs"})
    seen["live"] = list(_said(events))
    joined = "\n".join(text for texts in seen.values() for text in texts)
    for part in ("W725", "note", "interrupted", "a/b"):
        assert part in joined  # what could go wrong was looked at
    found = {
        f"{place}: {text[:200]}" for place, texts in seen.items() for text in texts
        if TERMINAL.search(text)
    }  # fmt: skip
    assert found == set()


def test_two_browsers_are_each_told_in_their_own_language(app: FastAPI, client: TestClient) -> None:
    write_run("interrupted", status="")
    for language, words in (
        ("en", "It can be resumed"),
        ("zh", "可以从上一个检查点继续"),
        ("en", "It can be resumed"),
    ):
        client.cookies.set("tunery_lang", language)
        live = client.get("/api/v1/events/poll", params={"topics": "runs"}).json()
        assert live["messages"][0]["items"][0]["fix"].startswith(words)
        [run] = client.get("/api/v1/runs").json()["runs"]
        assert run["fix"].startswith(words)
        assert words in client.get("/runs/interrupted").text


def _said(answer: Any) -> Iterator[str]:
    if "json" in answer.headers.get("content-type", ""):
        yield from _leaves(answer.json())
        return
    page = _Texts()
    page.feed(answer.text)
    yield from page.found


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in COMMANDS:
                yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)


class _Texts(HTMLParser):
    """The text of a page, and what is said in attributes; not what is shown as code to copy."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "pre", "code", "textarea") and not self._inside:
            self._inside = tag
        named = dict(attrs)
        said = [named.get(name) for name in ("title", "aria-label", "placeholder")]
        self.found += [text for text in said if text]

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside and data.strip():
            self.found.append(re.sub(r"\s+", " ", data.strip()))
