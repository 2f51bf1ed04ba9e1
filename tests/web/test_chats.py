"""The chat's conversations and streams, with an engine that answers deterministically."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.engines.stub import StubEngine

from tunery.services.chat import Target, _answering, _engines


class StubPool:
    """Every name is answered by one engine; ``broken`` names are refused."""

    def __init__(self, engine: StubEngine) -> None:
        self.engine = engine
        self.loading_seconds = 0.0

    async def loading_step(self, name: str) -> str:
        return "loading weights"

    async def ready(self, name: str) -> Target:
        if name == "broken":
            from tunery.errors import ModelError

            raise ModelError("broken: no such model.", fix="Name another.")
        resolved: Any = SimpleNamespace(name=name)
        await asyncio.sleep(self.loading_seconds)
        adapter = "/adapters/" + name if name != "demo" else None
        return Target(name, self.engine, adapter, None, self.engine.context_length, resolved)


@pytest.fixture
def engine() -> Iterator[StubEngine]:
    made = StubEngine(tokens_per_second=0)
    _engines.use_pool(StubPool(made))  # type: ignore[arg-type]
    yield made
    _engines.use_pool(None)


def begin(client: TestClient, *columns: str, **settings: Any) -> str:
    answer = client.post("/api/v1/chats", json={"settings": {"columns": columns, **settings}})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def ask(client: TestClient, chat: str, **what: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/api/v1/chats/{chat}/ask", json=what)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def said(events: list[dict[str, Any]], column: str) -> str:
    mine = (e for e in events if e.get("column") == column)
    return "".join(event["text"] for event in mine if event["kind"] == "text")


def test_two_models_answer_one_question_with_the_same_seed(client, engine) -> None:
    chat = begin(client, "demo", "tuna", seed=7, greedy=False)
    events = ask(client, chat, text="hello")
    assert events[0] == {"kind": "begin", "turn": 0}
    assert "hello" in said(events, "demo")
    assert said(events, "tuna") == said(events, "demo").replace("7: ", "7: [/adapters/tuna] ")
    assert [request.sampling.seed for request in engine.requests] == [7, 7]
    assert {request.adapter for request in engine.requests} == {None, "/adapters/tuna"}
    stored = client.get(f"/api/v1/chats/{chat}").json()
    (turn,) = stored["turns"]
    assert turn["answers"]["tuna"]["text"] == said(events, "tuna")
    assert turn["answers"]["tuna"]["facts"]["reason"] == "stop"
    assert client.get("/api/v1/chats").json()[0]["title"] == "hello"


def test_a_model_that_loads_says_what_it_does(client, engine, monkeypatch) -> None:
    monkeypatch.setattr(_answering, "LOADING_BEAT_SECONDS", 0.02)
    quick = ask(client, begin(client, "demo"), text="Hello")
    assert [e for e in quick if e["kind"] == "loading"] == [{"kind": "loading", "column": "demo"}]
    _engines.engine_pool().loading_seconds = 0.2  # type: ignore[attr-defined]
    first, *more = [e for e in ask(client, begin(client, "demo"), text="Hello")
                    if e["kind"] == "loading"]  # fmt: skip
    assert first == {"kind": "loading", "column": "demo"}
    assert len(more) >= 2
    assert all(e["doing"] == "loading weights" and e["seconds"] >= 1 for e in more)


def test_a_model_that_is_listed_twice_answers_once(client, engine) -> None:
    chat = begin(client, "demo", "tuna", "demo")
    assert client.get(f"/api/v1/chats/{chat}").json()["settings"]["columns"] == ["demo", "tuna"]
    for extra in ({}, {"columns": ["demo", "demo", "tuna"]}):
        engine.requests.clear()
        events = ask(client, chat, text="hello", **extra)
        assert len(engine.requests) == 2
        assert [e["column"] for e in events if e["kind"] == "ended"].count("demo") == 1
    page = client.get("/chat?a=demo&b=demo").text
    given = json.loads(page.split('id="chat-data">', 1)[1].split("</script>", 1)[0])
    assert given["settings"]["columns"] == ["demo"]


def test_each_model_reads_its_own_answers_as_history(client, engine) -> None:
    chat = begin(client, "demo", "tuna", system="Be kind.")
    ask(client, chat, text="one")
    ask(client, chat, text="two", columns=None)
    last = engine.requests[-1]
    assert [message["role"] for message in last.messages or ()] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip


def test_an_edited_question_takes_away_what_came_after_it(client, engine) -> None:
    chat = begin(client, "demo")
    for text in ("one", "two", "three"):
        ask(client, chat, text=text)
    ask(client, chat, text="zwei", turn=1)
    stored = client.get(f"/api/v1/chats/{chat}").json()
    assert [turn["text"] for turn in stored["turns"]] == ["one", "zwei"]


def test_an_answer_is_made_again_in_its_place(client, engine) -> None:
    chat = begin(client, "demo", "tuna")
    ask(client, chat, text="one")
    events = ask(client, chat, turn=0, columns=["tuna"])
    assert {e["column"] for e in events if "column" in e} == {"tuna"}
    stored = client.get(f"/api/v1/chats/{chat}").json()
    assert set(stored["turns"][0]["answers"]) == {"demo", "tuna"}


def test_a_model_that_cannot_answer_says_why_and_the_other_answers(client, engine) -> None:
    chat = begin(client, "demo", "broken")
    events = ask(client, chat, text="hello")
    (error,) = [event for event in events if event["kind"] == "error"]
    assert error["column"] == "broken"
    assert error["detail"] == "broken: no such model."
    assert error["fix"] == "Name another."
    assert "hello" in said(events, "demo")


def test_a_conversation_too_long_leaves_out_its_oldest_turns_and_says_so(client) -> None:
    engine = StubEngine(tokens_per_second=0, context_length=60, words=1)
    _engines.use_pool(StubPool(engine))  # type: ignore[arg-type]
    try:
        chat = begin(client, "demo", max_tokens=4)
        counts = []
        for number in range(6):
            events = ask(client, chat, text=f"word {'and more ' * 5}{number}")
            counts += [event["count"] for event in events if event["kind"] == "forgot"]
            assert not [event for event in events if event["kind"] == "error"]
        assert counts
        assert counts == sorted(counts)
    finally:
        _engines.use_pool(None)


def test_a_deleted_chat_comes_back(client, engine) -> None:
    chat = begin(client, "demo")
    ask(client, chat, text="hello")
    assert client.request("DELETE", f"/api/v1/chats/{chat}", json={}).status_code == 200
    assert client.get("/api/v1/chats").json() == []
    assert client.get(f"/api/v1/chats/{chat}").status_code == 404
    client.post(f"/api/v1/chats/{chat}/restore", json={})
    assert [one["id"] for one in client.get("/api/v1/chats").json()] == [chat]


def test_a_liked_or_corrected_answer_becomes_a_row_of_a_dataset(client, engine, home: Path) -> None:
    chat = begin(client, "demo", system="Be kind.")
    ask(client, chat, text="Who are you?")
    rated = {"turn": 0, "column": "demo", "rating": 1}
    assert client.post(f"/api/v1/chats/{chat}/rating", json=rated).json() == {"rating": 1}
    row = {"turn": 0, "column": "demo", "answer": "I am Tuna."}
    assert client.post(f"/api/v1/chats/{chat}/row", json=row).json()["rows"] == 1
    row["answer"] = "I am Tuna, a fish."
    assert client.post(f"/api/v1/chats/{chat}/row", json=row).json()["rows"] == 2
    from tunery.data.catalog import find

    lines = find("from-chat").files[0].read_text().splitlines()
    messages = json.loads(lines[1])["messages"]
    assert [message["content"] for message in messages] == [
        "Be kind.", "Who are you?", "I am Tuna, a fish.",
    ]  # fmt: skip
    export = client.get(f"/api/v1/chats/{chat}/export")
    assert "attachment" in export.headers["content-disposition"]
    assert json.loads(export.text)["messages"][1]["content"] == "Who are you?"


def test_a_question_outside_of_a_chat_stores_nothing(client, engine) -> None:
    answer = client.post(
        "/api/v1/chats/once", json={"text": "hello", "settings": {"columns": ["demo", "tuna"]}}
    )
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert "hello" in said(events, "tuna")
    assert client.get("/api/v1/chats").json() == []


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"temperature": 9}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"columns": []}, "columns"),
        ({"columns": ["a", "b", "c", "d", "e"]}, "columns"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_settings_are_refused_with_their_name(client, engine, wrong, word) -> None:
    answer = client.post("/api/v1/chats/check", json={"settings": wrong})
    assert answer.status_code in (404, 422)
    assert word in answer.json()["detail"]


def test_an_empty_question_and_a_missing_one_are_refused(client, engine) -> None:
    chat = begin(client, "demo")
    assert client.post(f"/api/v1/chats/{chat}/ask", json={"text": "  "}).status_code == 422
    assert client.post(f"/api/v1/chats/{chat}/ask", json={}).status_code == 422
    assert client.post(f"/api/v1/chats/{chat}/ask", json={"turn": 5}).status_code == 404
    assert client.post("/api/v1/chats/nope/ask", json={"text": "x"}).status_code == 404


def test_the_page_draws_hostile_text_as_text(client, engine) -> None:
    chat = begin(client, "demo", system="</script><script>alert(1)</script>")
    ask(client, chat, text="<img src=x onerror=alert(1)>")
    page = client.get(f"/chat?id={chat}").text
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_draws_in_both_languages(client, engine, language) -> None:
    client.cookies.set("tunery_lang", language)
    page = client.get("/chat?a=demo&b=tuna")
    assert page.status_code == 200
    assert ("对比" if language == "zh" else "Compare") in page.text
