"""A real browser against a real server.

``server`` is ``tunery web`` in a process of its own with this test's TUNERY_HOME on a free port;
ask for ``demo_home`` before it to have the demo model. ``page`` is Chromium, logged in, in English,
1440 x 900. At its end it fails on anything in ``troubles``: an error on the console, a request to
another host, a dialog. A test that makes such trouble on purpose says ``troubles.allow("ERR_")``.
``shot("run-zh")`` keeps a screenshot in tests/browser/shots (git-ignored).

Without Chromium these tests are skipped, or fail where TUNERY_REQUIRE_BROWSER is set. Locate by
role and label; ``expect(locator)`` waits. See ``tests/browser/looking.py`` for ``check_page``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from tests.browser.looking import SHOTS
from tests.waiting import PATIENCE_SECONDS

PATIENCE_MS = 1000 * PATIENCE_SECONDS

expect.set_options(timeout=PATIENCE_MS)  # it bounds a page that hangs; playwright's own is 5 s
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Server:
    """``tunery web`` as a process.

    Args:
        home: Its TUNERY_HOME.
        arguments: More words of its command line.
    """

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.arguments = arguments
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.with_name("web-output.log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def token(self) -> str:
        """The access token."""
        return (self.home / "token").read_text().strip()

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {"HF_HUB_OFFLINE": "1"} | os.environ | {
            "TUNERY_HOME": str(self.home), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "tunery", "web", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"tunery web did not start:\n{self.log.read_text()}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it; SIGKILL for a server that dies without a word."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def end_all(self) -> None:
        """End it and every worker that it or the test left in this home."""
        self.stop()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("TUNERY_HOME") == str(self.home)
                if ours and process.pid != os.getpid():
                    process.kill()


class Troubles:
    """What a page must not do, collected while it is open."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.allowed: list[str] = []

    def add(self, text: str) -> None:
        """Note one."""
        self.found.append(text)

    def allow(self, part: str) -> None:
        """Take no offence at what holds these words."""
        self.allowed.append(part)

    def clear(self) -> None:
        """Forget what was found so far."""
        self.found.clear()

    def left(self) -> list[str]:
        """What was not allowed."""
        return [text for text in self.found if not any(part in text for part in self.allowed)]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; Playwright's own is never downloaded."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        reason = "no Chromium on this machine (apt install chromium)"
        if os.environ.get("TUNERY_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    """The page's server in this test's home."""
    made = Server(home)
    made.start()
    yield made
    made.end_all()


@pytest.fixture
def troubles() -> Troubles:
    """What the page did wrong."""
    return Troubles()


@pytest.fixture
def context(chromium: Browser, server: Server, troubles: Troubles) -> Iterator[BrowserContext]:
    """A browser profile that is logged in; ``context.new_page()`` opens more tabs."""
    made = chromium.new_context(
        base_url=server.url, viewport={"width": 1440, "height": 900}, locale="en-US"
    )
    made.set_default_timeout(PATIENCE_MS)
    watch(made, server.url, troubles)
    log_in(made, server)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, troubles: Troubles) -> Iterator[Page]:
    """A tab, blank; its console, its hosts and its dialogs are watched."""
    tab = context.new_page()
    yield tab
    tab.close()
    assert troubles.left() == []


@pytest.fixture
def shot(page: Page) -> Callable[[str], Path]:
    """Keep a screenshot of the page under a name."""

    def take(name: str) -> Path:
        SHOTS.mkdir(exist_ok=True)
        path = SHOTS / f"{name}.png"
        page.screenshot(path=path)
        return path

    return take


def log_in(context: BrowserContext, server: Server) -> None:
    """Give a browser profile its session, as the login page does."""
    answer = context.request.post(
        f"{server.url}/api/v1/session",
        data={"token": server.token},
        headers={"X-Tunery": "1", "Origin": server.url},
    )
    assert answer.ok, answer.text()


def watch(context: BrowserContext, origin: str, troubles: Troubles) -> None:
    """Collect what pages of a profile do wrong."""

    def on_page(tab: Page) -> None:
        tab.on("pageerror", lambda error: troubles.add(f"error: {error}"))
        tab.on(
            "dialog", lambda dialog: (troubles.add(f"dialog: {dialog.message}"), dialog.dismiss())
        )

    def on_request(url: str) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("data", "blob", "about")
            and f"{parts.scheme}://{parts.netloc}" != origin
        ):
            troubles.add(f"foreign request: {url}")

    context.on("page", on_page)
    context.on("request", lambda request: on_request(request.url))
    context.on(
        "console",
        lambda message: (
            troubles.add(f"console: {message.text} {message.location.get('url', '')}")
            if message.type == "error"
            else None
        ),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
