"""Conversations of the page, stored in state.db: one input, one to four models that answer.

A turn is one user message and an answer from each model. ``_answering.py`` generates the answers;
this module stores, lists, edits and exports them.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tunery.errors import EngineError, unknown_name
from tunery.i18n import t
from tunery.state.database import database

MAX_COLUMNS = 4
MAX_TEXT = 200_000
UNDO_SECONDS = 3600.0
_TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Settings for all models in a chat.

    Args:
        columns: The models, by any name that ``models resolve`` accepts.
        system: The system prompt; empty for none.
        greedy: Always take the most likely token; the next four settings are then ignored.
        temperature: Divides the logits, 0 to 5.
        top_p: Sample from the smallest set of tokens with this probability, above 0 and up to 1.
        top_k: Sample from only this many tokens; 0 for all.
        seed: Sampling seed, the same for all models.
        max_tokens: Maximum number of tokens per answer.
    """

    columns: tuple[str, ...] = ("demo",)
    system: str = ""
    greedy: bool = True
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    seed: int = 42
    max_tokens: int = 512

    def changed(self, values: Mapping[str, Any]) -> ChatSettings:
        """Return a copy with some values changed.

        Raises:
            EngineError: A value is unknown or out of bounds; ``setting`` names it.
        """
        known = {spec.name for spec in fields(self)}
        for name in values:
            if name not in known:
                raise unknown_name("setting", name, known)
        made = replace(self, **dict(values))
        try:
            unique = tuple(dict.fromkeys(made.columns))  # each model answers once
        except TypeError:  # not a list of names, which ``check`` refuses
            unique = ()
        made = replace(made, columns=unique)
        made.check()
        return made

    def check(self) -> None:
        """Reject what no engine accepts; a value may come from anywhere and have any type."""
        if not 1 <= len(self.columns) <= MAX_COLUMNS or not all(
            isinstance(name, str) and name.strip()  # pyright: ignore[reportUnnecessaryIsInstance]
            for name in self.columns
        ):
            raise _bad("columns", t("must list 1 to {most} models", most=MAX_COLUMNS))
        for name, low, high, whole in _BOUNDS:
            value = getattr(self, name)
            fits = isinstance(value, int) if whole else isinstance(value, int | float)
            if not fits or isinstance(value, bool) or not low <= value <= high:
                text = t(
                    "must be from {low} to {high}, got {value}", low=low, high=high, value=value
                )
                raise _bad(name, text)
        is_text = isinstance(self.system, str)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_text or len(self.system) > MAX_TEXT:
            raise _bad("system", t("must be text of at most {most} characters", most=MAX_TEXT))


_BOUNDS: tuple[tuple[str, float, float, bool], ...] = (
    ("temperature", 0, 5, False),
    ("top_p", 0.01, 1, False),
    ("top_k", 0, 1_000_000, True),
    ("seed", 0, 2**48 - 1, True),
    ("max_tokens", 1, 1_000_000, True),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model said in one turn.

    Args:
        text: The answer without its thinking.
        facts: ``thought``, ``reason``, ``num_tokens``, ``num_prompt_tokens``, ``prompt_text``,
            ``first_token_seconds``, ``seconds``, ``error``, ``fix``, ``forgot``, ``rating``.
    """

    text: str
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answers by model."""

    number: int
    text: str
    answers: dict[str, Answer]


@dataclass(frozen=True, slots=True)
class StoredChat:
    """One stored conversation."""

    id: str
    title: str
    settings: ChatSettings
    updated: float
    turns: list[Turn]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def messages(self, column: str, before: int) -> list[dict[str, str]]:
        """The conversation of one model up to, but not including, turn ``before``.

        A turn that this model did not answer, or answered with an error, is left out: a template
        needs user and assistant to alternate.
        """
        made: list[dict[str, str]] = []
        if self.settings.system:
            made.append({"role": "system", "content": self.settings.system})
        for turn in self.turns:
            answer = turn.answers.get(column)
            if turn.number >= before or answer is None or not answer.text:
                continue
            made.append({"role": "user", "content": turn.text})
            made.append({"role": "assistant", "content": answer.text})
        return made


def new_chat(settings: ChatSettings) -> StoredChat:
    """Create a conversation."""
    settings.check()
    chat = secrets.token_hex(6)
    now = time.time()
    with database().write() as db:
        db.execute(
            "INSERT INTO chats (id, settings, created, updated) VALUES (?, ?, ?, ?)",
            (chat, json.dumps(asdict(settings)), now, now),
        )
        db.execute("DELETE FROM chats WHERE deleted < ?", (now - UNDO_SECONDS,))
    return show_chat(chat)


def show_chat(chat: str) -> StoredChat:
    """Load one conversation.

    Raises:
        UnknownName: There is no conversation with this id.
    """
    found = database().read("SELECT * FROM chats WHERE id = ? AND deleted IS NULL", (chat,))
    if not found:
        raise unknown_name("chat", chat, [], fix=t("It was deleted or never existed."))
    rows = database().read(
        "SELECT * FROM messages WHERE chat = ? ORDER BY position, created", (chat,)
    )
    settings = ChatSettings().changed(json.loads(found[0]["settings"]))
    return StoredChat(chat, found[0]["title"], settings, found[0]["updated"], _turns(rows))


def list_chats() -> list[dict[str, Any]]:
    """All conversations with at least one question, newest first."""
    rows = database().read(
        "SELECT id, title, settings, updated FROM chats WHERE deleted IS NULL AND "
        "EXISTS (SELECT 1 FROM messages WHERE chat = chats.id) ORDER BY updated DESC"
    )
    return [
        {
            "id": row["id"],
            "title": row["title"],
            "updated": row["updated"],
            "columns": json.loads(row["settings"])["columns"],
        }
        for row in rows
    ]


def change_chat(
    chat: str, *, title: str | None = None, settings: Mapping[str, Any] | None = None
) -> StoredChat:
    """Rename a conversation, or change how its next answers are sampled."""
    known = show_chat(chat)
    made = known.settings.changed(settings or {})
    with database().write() as db:
        db.execute(
            "UPDATE chats SET title = ?, settings = ? WHERE id = ?",
            ((known.title if title is None else title)[:200], json.dumps(asdict(made)), chat),
        )
    return show_chat(chat)


def delete_chat(chat: str) -> None:
    """Delete a conversation; ``restore_chat`` can undo it for an hour."""
    show_chat(chat)
    with database().write() as db:
        db.execute("UPDATE chats SET deleted = ? WHERE id = ?", (time.time(), chat))


def restore_chat(chat: str) -> StoredChat:
    """Restore a deleted conversation."""
    with database().write() as db:
        db.execute("UPDATE chats SET deleted = NULL WHERE id = ?", (chat,))
    return show_chat(chat)


def store_question(chat: str, text: str, *, turn: int | None = None) -> tuple[StoredChat, int]:
    """Store a question.

    Args:
        chat: The conversation.
        text: The question.
        turn: Replace the question of this turn (edited); later turns are removed.

    Returns:
        The conversation, and the number of the turn that is now waiting for answers.
    """
    known = show_chat(chat)
    if not text.strip() or len(text) > MAX_TEXT:
        raise EngineError(
            t("Messages must have 1 to {most} characters.", most=MAX_TEXT), code="bad_message"
        )
    number = turn if turn is not None else (known.turns[-1].number + 1 if known.turns else 0)
    title = known.title or _title(text)
    with database().write() as db:
        db.execute("DELETE FROM messages WHERE chat = ? AND position >= ?", (chat, 2 * number))
        _insert(db, chat, 2 * number, "", "user", text, {})
        db.execute(
            "UPDATE chats SET title = ?, updated = ? WHERE id = ?", (title, time.time(), chat)
        )
    return show_chat(chat), number


def keep(chat: str, turn: int, column: str, answer: Answer) -> None:
    """Store an answer, replacing an earlier one of the same model in the same turn."""
    with database().write() as db:
        if not db.execute(
            "SELECT 1 FROM messages WHERE chat = ? AND position = ?", (chat, 2 * turn)
        ).fetchone():
            return  # the turn was edited away, or the chat deleted, during generation
        db.execute(
            "DELETE FROM messages WHERE chat = ? AND position = ? AND column_name = ?",
            (chat, 2 * turn + 1, column),
        )
        _insert(db, chat, 2 * turn + 1, column, "assistant", answer.text, answer.facts)
        db.execute("UPDATE chats SET updated = ? WHERE id = ?", (time.time(), chat))


def answer_of(chat: str, turn: int, column: str) -> tuple[StoredChat, Turn, Answer]:
    """Find one answer.

    Raises:
        UnknownName: There is no such answer.
    """
    known = show_chat(chat)
    for found in known.turns:
        if found.number == turn and column in found.answers:
            return known, found, found.answers[column]
    raise unknown_name("answer", f"{turn}/{column}", [], fix=t("Ask again."))


def rate_answer(chat: str, turn: int, column: str, rating: int) -> None:
    """Store a rating: 1 for thumbs up, -1 for thumbs down, 0 for none."""
    if rating not in (-1, 0, 1):
        raise _bad("rating", t("must be -1, 0 or 1"))
    _, _, answer = answer_of(chat, turn, column)
    keep(chat, turn, column, replace(answer, facts={**answer.facts, "rating": rating}))


def chat_as_rows(chat: str) -> str:
    """The conversation as training rows: JSON lines with ``messages``, one per model."""
    known = show_chat(chat)
    last = known.turns[-1].number + 1 if known.turns else 0
    rows = (known.messages(column, last) for column in known.settings.columns)
    return "".join(json.dumps({"messages": row}, ensure_ascii=False) + "\n" for row in rows if row)


def _turns(rows: Sequence[sqlite3.Row]) -> list[Turn]:
    turns: dict[int, Turn] = {}
    for row in rows:
        number = row["position"] // 2
        if row["role"] == "user":
            turns[number] = Turn(number, row["content"], {})
        elif number in turns:
            answer = Answer(row["content"], json.loads(row["facts"]))
            turns[number].answers[row["column_name"]] = answer
    return list(turns.values())


def _insert(
    db: sqlite3.Connection,
    chat: str,
    position: int,
    column: str,
    role: str,
    content: str,
    facts: Mapping[str, Any],
) -> None:
    db.execute(
        "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            secrets.token_hex(8),
            chat,
            position,
            column,
            role,
            content,
            json.dumps(facts),
            time.time(),
        ),
    )


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_LENGTH else line[: _TITLE_LENGTH - 1] + "…"


def _bad(setting: str, why: str) -> EngineError:
    return EngineError(
        t("{setting}: {why}.", setting=setting, why=why), code="bad_setting", setting=setting
    )
