"""Conversations as files: one training row per conversation, in the openai format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tunery import env
from tunery.errors import EngineError
from tunery.i18n import t
from tunery.types import Message


def save_transcript(
    path: Path, conversations: Iterable[tuple[str, Sequence[Message]]], *, force: bool
) -> None:
    """Write conversations, one JSON object per line.

    Args:
        path: The file.
        conversations: Label of the speaker, and its messages.
        force: Overwrite an existing file.

    Raises:
        EngineError: The file exists and ``force`` is not set.
        OSError: The file cannot be written.
    """
    rows = [
        {"messages": [_plain(message) for message in messages], "model": label}
        for label, messages in conversations
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        with env.expanded(path).open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise EngineError(
            t("{path} exists already.", path=path),
            fix=t("Overwrite it with: /save! {path}", path=path),
        ) from None


def load_transcript(path: Path) -> list[Message]:
    """Read the first conversation of a file from ``save_transcript``, or any with ``messages``.

    Raises:
        EngineError: The file cannot be read as a conversation.
    """
    try:
        text = env.expanded(path).read_text(encoding="utf-8").strip()
        first = text if text.startswith("{\n") else text.split("\n", 1)[0]
        return [
            Message(row["role"], str(row["content"]), thinking=row.get("reasoning_content"))
            for row in json.loads(first)["messages"]
            if row["role"] in ("system", "user", "assistant")
        ]
    except OSError as error:
        raise EngineError(
            t("{path}: {reason}.", path=path, reason=error.strerror or str(error)),
            fix=t("Use a file written by /save."),
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            t("{path}: contains no conversation.", path=path),
            fix=t("Use a file written by /save."),
        ) from error


def _plain(message: Message) -> dict[str, str]:
    row: dict[str, str] = {"role": message.role, "content": message.content}
    return row if message.thinking is None else {**row, "reasoning_content": message.thinking}
