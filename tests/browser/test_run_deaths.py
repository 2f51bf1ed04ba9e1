"""A run that dies, pauses or loses its server while somebody looks: every view says so at once."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.conftest import Server, Troubles
from tests.browser.test_run_acts import started
from tests.browser.test_runs import working
from tests.waiting import until
from tests.web.test_runs_api import write_run

from tunery.runs.events import EventWriter
from tunery.runs.folder import open_run
from tunery.runs.status import derive
from tunery.workers.folder import write_json
from tunery.workers.process import WorkerFile

AT_ONCE_MS = 4000
"""The page shows it within a second; the machine of the tests is slow and shared."""


def kill(name: str) -> None:
    """End the worker of a run as the kernel does when memory is short."""
    os.kill(WorkerFile(open_run(name)).read()["pid"], signal.SIGKILL)


def running(name: str) -> None:
    folder = started(name, "wait")
    until(lambda: derive(folder).status == "running")


def color(dot: Locator) -> str:
    """The colour of the dot before a word."""
    script = "(each) => getComputedStyle(each, '::before').backgroundColor"
    return str(dot.evaluate(script))


def test_a_killed_run_is_told_even_where_the_stop_menu_is_open(server: Server, page: Page) -> None:
    running("one")
    page.goto("/runs/one")
    page.locator("#part-actions summary", has_text="Stop").click()
    expect(page.get_by_role("button", name="Save and stop")).to_be_visible()
    kill("one")
    expect(page.locator("#part-status")).to_have_text(
        re.compile(r"^\s*Interrupted\s*$"), timeout=AT_ONCE_MS
    )
    expect(page.get_by_role("button", name="Save and stop")).to_have_count(0, timeout=AT_ONCE_MS)
    panel = page.get_by_role("alert", name="Why it ended")
    expect(panel).to_contain_text("signal 9", timeout=AT_ONCE_MS)
    expect(page.locator("#jobbox")).not_to_contain_text("one")


@pytest.mark.parametrize(
    ("path", "where"),
    [("/runs", 'tr[data-row="one"]'), ("/", 'tr[data-run="one"]'),
     ("/compare?ids=one,other", ".legend")],
)  # fmt: skip
def test_a_killed_run_is_told_in_every_list(
    server: Server, page: Page, path: str, where: str
) -> None:
    write_run("other")
    running("one")
    page.goto(path)
    badge = page.locator(where).locator(".badge").first
    expect(badge).to_contain_text("Running")
    kill("one")
    expect(badge).to_have_text("Interrupted", timeout=AT_ONCE_MS)
    expect(page.locator(where).locator(".badge").first).to_have_attribute(
        "title", re.compile("signal 9"), timeout=AT_ONCE_MS
    )


def test_a_full_disk_is_told_with_its_reason(server: Server, page: Page) -> None:
    folder = working("full")
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=os.getpid())
        page.goto("/runs/full")
        expect(page.locator("#part-status")).to_contain_text("Running")
        writer.write("status", status="paused", reason="the disk is full: 3 MiB free")
        expect(page.locator("#part-status")).to_contain_text("Paused", timeout=AT_ONCE_MS)
        expect(page.locator("#part-strip")).to_contain_text("3 MiB free", timeout=AT_ONCE_MS)
    write_json(folder.worker_file, {})


def test_no_dot_claims_to_be_live_while_the_server_is_away(
    page: Page, server: Server, troubles: Troubles, shot: Callable[[str], Path]
) -> None:
    troubles.allow("ERR_")
    running("one")
    page.goto("/runs/one")
    live = page.locator("#part-status .live")
    expect(live).to_be_visible()
    expect(page.locator('html[data-connection="live"]')).to_have_count(1)
    green = color(live)
    server.stop(signal.SIGKILL)
    expect(page.locator('html[data-connection="lost"]')).to_have_count(1)
    grey = color(live)
    assert grey != green
    assert color(page.locator("#part-status .badge")) == grey
    kill("one")
    shot("run-server-away")
    time.sleep(1)
    server.start()
    expect(page.locator("#part-status")).to_have_text(re.compile(r"^\s*Interrupted\s*$"))
    expect(page.locator("#part-failure")).to_contain_text("signal 9")
