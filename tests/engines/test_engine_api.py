"""The pool over real processes, and its routes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.chat_model import make_chat_model
from tests.waiting import until
from tests.web.conftest import app, client, settings, tests_are_allowed  # noqa: F401

from tunery.engines.base import EngineStatus, GenerateRequest
from tunery.errors import EngineError
from tunery.server.topics import find
from tunery.services.chat import _engine_memory, _engines


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "tiny")


def test_a_model_is_loaded_shown_and_unloaded(client: TestClient, base: Path) -> None:  # noqa: F811
    _engines.use_pool(None)
    topic, argument = find("engines")
    try:
        assert client.post("/api/v1/infer/load", json={"model": str(base)}).status_code == 202

        def ready() -> dict[str, Any] | None:
            (status,) = client.get("/api/v1/infer/status").json()["engines"] or [{"state": ""}]
            assert status["state"] != "failed", status
            return status if status["state"] == "ready" else None

        status = until(ready, every=0.2)
        assert status["base"] == str(base)
        (message,), _ = topic.read(argument, "")
        assert [item["state"] for item in message["items"]] == ["ready"]
        answer = client.post("/api/v1/infer/unload", json={"model": str(base)})
        assert answer.json() == {"unloaded": True}
        assert client.get("/api/v1/infer/status").json() == {"engines": []}
    finally:
        _engines.use_pool(None)


class _Idle:
    def __init__(self, memory: int, *, busy: bool = False) -> None:
        self.memory, self.busy, self.closed = memory, busy, False

    def generate(self, request: GenerateRequest):
        raise NotImplementedError

    async def count_tokens(self, request: GenerateRequest) -> int:
        return 0

    def is_alive(self) -> bool:
        return not self.closed

    async def status(self) -> EngineStatus:
        return EngineStatus("/x", "ready", memory_bytes=self.memory, num_running=int(self.busy))

    async def close(self) -> None:
        self.closed = True


def test_what_does_not_fit_is_refused_and_nobody_is_unloaded(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engine_memory, "needed_bytes", lambda folder: 1 << 50)
    idle = _Idle(1 << 20)
    with pytest.raises(EngineError, match="needs about"):
        asyncio.run(_engine_memory.make_room(base, {Path("/a"): idle}, name="tiny"))
    assert not idle.closed


def test_idle_engines_give_way_and_busy_ones_do_not(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engine_memory, "needed_bytes", lambda folder: 1 << 50)
    idle, busy = _Idle(1 << 51), _Idle(1 << 51, busy=True)
    running = {Path("/a"): idle, Path("/b"): busy}
    asyncio.run(_engine_memory.make_room(base, running, name="tiny"))
    assert idle.closed
    assert not busy.closed


def test_a_model_that_was_unloaded_is_loaded_again_with_a_word(
    base: Path, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engine_memory, "needed_bytes", lambda folder: 1)
    running: dict[Path, _Idle] = {}

    async def start(folder: Path, dtype: str) -> Any:
        return running.setdefault(folder, _Idle(1))

    async def now() -> Any:
        return running

    async def asked() -> list[str]:
        pool, said = _engines.Pool(start, now), []
        for unloads in (False, True, False):
            await pool.ready(str(base))
            said.append(caplog.text)
            if unloads:
                running.clear()
        return said

    first, second, third = asyncio.run(asked())
    assert first == second == ""
    assert "was unloaded while idle" in third


@pytest.mark.parametrize(
    ("idle_seconds", "given"),
    [
        (None, {"held": True, "idle_seconds": None}),
        (60.0, {"held": True, "idle_seconds": 60.0}),
    ],
)
def test_serve_says_how_long_its_engines_stay(
    monkeypatch: pytest.MonkeyPatch, idle_seconds: float | None, given: dict[str, Any]
) -> None:
    seen: list[dict[str, Any]] = []

    async def start(folder: Path, dtype: str, **options: Any) -> Any:
        seen.append(options)

    monkeypatch.setattr("tunery.engines.process.start", start)
    monkeypatch.setattr(_engines, "_starting", {})
    _engines.use_pool(None)
    try:
        _engines.hold_engines(idle_seconds)
        asyncio.run(_engines.engine_pool()._start(Path("/x"), "auto"))  # type: ignore[arg-type]
    finally:
        _engines.use_pool(None)
    assert seen == [given]


def test_an_engine_is_started_ahead_only_where_none_runs_and_memory_is_free(
    monkeypatch: pytest.MonkeyPatch, base: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))
    begun: list[tuple[Path, str, dict[str, Any]]] = []

    def begin(folder: Path, dtype: str, **options: Any) -> None:
        begun.append((folder, dtype, options))

    monkeypatch.setattr(_engines.spawning, "begin", begin)
    monkeypatch.setattr(_engines, "_starting", {"held": True, "idle_seconds": None})
    pool = _engines.Pool(_never, _never)
    assert pool.start_ahead(str(base))
    assert begun == [(base.resolve(), "auto", {"held": True, "idle_seconds": None})]
    monkeypatch.setattr(_engines, "needed_bytes", lambda folder: 1 << 60)
    assert not pool.start_ahead(str(base))  # room is made for it later
    monkeypatch.undo()
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(_engines.spawning, "begin", begin)
    monkeypatch.setattr(_engines.EngineFolder, "alive", lambda self: True)
    assert not pool.start_ahead(str(base))
    assert len(begun) == 1


async def _never(*_: Any) -> Any:
    raise AssertionError
