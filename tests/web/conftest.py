"""The server in a test: no socket, a home of its own.

``client`` is a browser that has logged in: it sends the session cookie, Origin and X-Tunery, as
``js/api.js`` does. ``anonymous`` is one that has not, and sends none of them. Both speak English
until a test sets the cookie ``tunery_lang``. An exception that is no TuneryError is raised in the
test; ``quiet`` gives the 500 answer instead. ``key`` makes API keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tunery.server.security import tokens
from tunery.server.settings import ServerSettings
from tunery.services.machine import _roots
from tunery.workers import warm

BASE = "http://127.0.0.1:7860"


@pytest.fixture(autouse=True)
def tests_are_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The folders of tests may be opened by the page, as a person would allow them."""
    usual = (*_roots.USUAL, str(tmp_path_factory.getbasetemp()))
    monkeypatch.setattr(_roots, "USUAL", usual)


@pytest.fixture
def settings(home: Path) -> ServerSettings:
    """How the server of this test is reached; a module may have its own fixture of that name."""
    return ServerSettings()


@pytest.fixture
def app(home: Path, settings: ServerSettings) -> FastAPI:
    """The page's server with every route."""
    from tunery.web.app import create

    return create(settings)


@pytest.fixture
def anonymous(app: FastAPI) -> Iterator[TestClient]:
    """A browser that has not logged in; redirects are not followed."""
    with TestClient(app, BASE, follow_redirects=False) as browser:
        yield browser


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A browser with a session."""
    with log_in(TestClient(app, BASE)) as browser:
        yield browser


@pytest.fixture
def quiet(app: FastAPI) -> Iterator[TestClient]:
    """A browser with a session that sees a 500 where the server would log an exception."""
    with log_in(TestClient(app, BASE, raise_server_exceptions=False)) as browser:
        yield browser


@pytest.fixture
def key(app: FastAPI) -> Callable[..., dict[str, str]]:
    """Make an API key: ``key("chat")`` gives the headers of a program that has one."""

    def make(*scopes: str) -> dict[str, str]:
        _, secret = tokens.create_key("test", scopes)
        return {"Authorization": f"Bearer {secret}"}

    return make


def log_in(browser: TestClient) -> TestClient:
    """Give a browser the session cookie and the headers that our pages send."""
    token: tokens.TokenFile = browser.app.state.token  # type: ignore[attr-defined]
    browser.cookies.set(token.cookie_name(), token.new_session())
    browser.headers |= {"Origin": BASE, "X-Tunery": "1", "Sec-Fetch-Site": "same-origin"}
    return browser


@pytest.fixture
def own_pool() -> Iterator[None]:
    """The warm pool of this test's home alone."""
    warm.pool.cache_clear()
    yield
    warm.pool().close()
    warm.pool.cache_clear()
