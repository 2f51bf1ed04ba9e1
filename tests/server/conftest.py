"""A real server on loopback with stub engines behind it, and the real ``openai`` client."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from openai import OpenAI
from tests.waiting import PATIENCE_SECONDS

from engines.stub import StubEngine
from tunery.server.app import create_app
from tunery.server.openai.routes import V1_ROUTERS
from tunery.server.run import make_server
from tunery.server.settings import ServerSettings
from tunery.services.chat import Served, _engines, _serving

KEY = "tunery-test-key-0123456789abcdef"


@dataclass
class StubPool:
    """Engines by the model's name."""

    engines: dict[str, StubEngine] = field(default_factory=dict)

    async def ready(self, name: str) -> Any:
        if not self.engines[name].is_alive():  # it is loaded again
            self.engines[name] = StubEngine(tokens_per_second=0)
        engine = self.engines[name]
        resolved = SimpleNamespace(
            base=None, path=Path("/nowhere"), model_folder=Path("/nowhere"), kind="folder"
        )
        return SimpleNamespace(
            engine=engine,
            adapter=None,
            template=None,
            context_length=engine.context_length,
            resolved=resolved,
        )

    def start_ahead(self, name: str) -> bool:
        return False

    async def statuses(self) -> list[Any]:
        return [asdict(await engine.status()) for engine in self.engines.values()]


@dataclass
class Running:
    """A server that answers."""

    url: str
    app: FastAPI
    pool: StubPool
    server: uvicorn.Server
    thread: threading.Thread
    clients: list[OpenAI | httpx.Client] = field(default_factory=list)

    @property
    def engine(self) -> StubEngine:
        return self.pool.engines["stub"]

    def client(self, key: str = KEY) -> OpenAI:
        made = OpenAI(
            base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_SECONDS
        )
        self.clients.append(made)
        return made

    def raw(self, **more: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {KEY}"}
        made = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS, **more)
        self.clients.append(made)
        return made

    def stop(self) -> None:
        for each in self.clients:
            each.close()
        self.server.should_exit = True
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()


def run(app: FastAPI, pool: StubPool) -> Running:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    server = make_server(app)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return Running(url, app, pool, server, thread)


@pytest.fixture
def running(home: Path) -> Iterator[Running]:
    """The API alone, as ``tunery serve`` runs it, with one stub engine at full speed."""
    pool = StubPool({"stub": StubEngine(tokens_per_second=0)})
    app = create_app(ServerSettings(api_keys=(KEY,)), api=V1_ROUTERS)
    _engines.use_pool(cast(Any, pool))
    _serving._fixed = (Served("stub", "stub", 1_700_000_000),)
    server = run(app, pool)
    yield server
    server.stop()
    _serving.unfix()
    _engines.use_pool(None)


@pytest.fixture
def client(running: Running) -> OpenAI:
    """The real client."""
    return running.client()
