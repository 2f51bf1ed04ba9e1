"""REST for the chat page: stored conversations, and answers as a stream of JSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from tunery.errors import EngineError
from tunery.i18n import t
from tunery.server.api.body import Body
from tunery.server.api.named import ChatSettings
from tunery.services import chat as chat_service

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])


class Begin(Body):
    """Settings of a new conversation; omitted ones have their defaults."""

    settings: ChatSettings = Field(default_factory=dict)


class Change(Body):
    """Changes to a conversation: its title, or some of its settings."""

    title: str | None = None
    settings: ChatSettings = Field(default_factory=dict)


class Ask(Body):
    """A question to ask, or a turn to answer again.

    ``text`` alone asks a new question; with ``turn``, it replaces the question of that turn.
    ``turn`` alone answers that turn again; with ``go_on``, it continues answers that were cut
    short. ``columns`` selects which models answer; by default, all of the conversation's.
    """

    text: str | None = Field(default=None, max_length=chat_service.MAX_TEXT)
    turn: int | None = Field(default=None, ge=0)
    columns: list[str] | None = Field(default=None, max_length=chat_service.MAX_COLUMNS)
    go_on: bool = False


class Once(Body):
    """A question that belongs to no conversation."""

    text: str = Field(min_length=1, max_length=chat_service.MAX_TEXT)
    settings: ChatSettings = Field(default_factory=dict)


class Rating(Body):
    """The rating of an answer: 1 for thumbs up, -1 for thumbs down, 0 for none."""

    turn: int
    column: str
    rating: int


class Row(Body):
    """An answer to save as a training row; ``answer`` replaces what the model said."""

    turn: int
    column: str
    answer: str | None = Field(default=None, max_length=chat_service.MAX_TEXT)


@router.get("")
def listing() -> list[dict[str, Any]]:
    """List all conversations, newest first."""
    return chat_service.list_chats()


@router.post("")
def begin(new: Begin) -> dict[str, Any]:
    """Create a conversation."""
    return chat_service.new_chat(chat_service.ChatSettings().changed(new.settings)).as_dict()


@router.post("/check")
def check(new: Begin) -> dict[str, Any]:
    """Validate settings; invalid ones are rejected with an explanation."""
    chat_service.ChatSettings().changed(new.settings)
    return {"ok": True}


@router.get("/speakers")
def who() -> list[dict[str, Any]]:
    """List the models, runs and checkpoints that can answer."""
    return [{"label": group.label, "names": group.names} for group in chat_service.speakers()]


@router.get("/prompt-sets")
def prompts() -> list[dict[str, Any]]:
    """List the sets of prompts for comparing models."""
    titles = chat_service.prompt_titles()
    return [
        {"name": name, "title": titles[name], "prompts": list(questions)}
        for name, questions in chat_service.PROMPT_SETS.items()
    ]


@router.post("/once")
async def once(question: Once) -> Response:
    """Answer one question as a stream of JSON lines; nothing is stored."""
    settings = chat_service.ChatSettings().changed(question.settings)
    return _lines(chat_service.answer_once(settings.columns, question.text, settings))


@router.get("/{chat}")
def show(chat: str) -> dict[str, Any]:
    """Get a conversation with its answers."""
    return chat_service.show_chat(chat).as_dict()


@router.patch("/{chat}")
def change(chat: str, new: Change) -> dict[str, Any]:
    """Rename a conversation, or change how its next answers are sampled."""
    return chat_service.change_chat(chat, title=new.title, settings=new.settings).as_dict()


@router.delete("/{chat}")
def delete(chat: str) -> dict[str, Any]:
    """Delete a conversation; it can be restored for an hour."""
    chat_service.delete_chat(chat)
    return {"id": chat}


@router.post("/{chat}/restore")
def restore(chat: str) -> dict[str, Any]:
    """Restore a deleted conversation."""
    return chat_service.restore_chat(chat).as_dict()


@router.get("/{chat}/export")
def export(chat: str) -> Response:
    """Download a conversation as training rows (JSON lines), one row per model."""
    name = f"chat-{chat_service.show_chat(chat).id}.jsonl"
    return Response(
        chat_service.chat_as_rows(chat),
        media_type="application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.post("/{chat}/ask")
async def ask(chat: str, question: Ask) -> Response:
    """Ask a question and stream the answers, one JSON event per line.

    Closing the connection stops the models. Rejects an unknown turn and a model that is not in
    the conversation.
    """
    if question.text is not None:
        known, turn = await run_in_threadpool(
            chat_service.store_question, chat, question.text, turn=question.turn
        )
    elif question.turn is not None:
        known, turn = await run_in_threadpool(chat_service.show_chat, chat), question.turn
        if turn not in {found.number for found in known.turns}:
            raise EngineError(t("This chat has no such prompt."), code="unknown")
    else:
        raise EngineError(t("Pass the prompt as text, or a turn."), code="bad_message")
    columns = list(dict.fromkeys(question.columns or known.settings.columns))
    for name in columns:
        if name not in known.settings.columns:
            raise EngineError(t("{name} is not in this chat.", name=name), code="unknown")
    return _lines(chat_service.answer_turn(known, turn, columns, go_on=question.go_on), turn=turn)


@router.post("/{chat}/rating")
def rate(chat: str, given: Rating) -> dict[str, Any]:
    """Rate an answer."""
    chat_service.rate_answer(chat, given.turn, given.column, given.rating)
    return {"rating": given.rating}


@router.post("/{chat}/row")
def add_row(chat: str, given: Row) -> dict[str, Any]:
    """Add the conversation up to and including this answer to the dataset ``from-chat``."""
    return chat_service.add_row(chat, given.turn, given.column, answer=given.answer)


def _lines(events: AsyncGenerator[dict[str, Any]], **first: Any) -> StreamingResponse:
    async def lines() -> AsyncGenerator[bytes]:
        yield _line({"kind": "begin", **first})
        async with aclosing(events) as given:
            async for event in given:
                yield _line(event)

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"
