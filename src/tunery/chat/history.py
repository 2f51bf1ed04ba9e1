"""Edit the history of a chat: drop old turns, remove the last question, split off thinking."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunery.chat.messages import Thinking
from tunery.chat.template import ChatTemplate
from tunery.errors import EngineError
from tunery.i18n import t
from tunery.types import Message

ROOM_FOR_ANSWER = 0.25
"""Fraction of the context reserved for the answer; old turns are dropped to free it."""
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def fitting(
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    context_length: int,
    max_tokens: int,
    thinking: Thinking = "strip_history",
) -> tuple[list[Message], list[int]]:
    """Drop the oldest turns until the prompt and space for an answer fit the context.

    Args:
        template: Template of the model.
        messages: The conversation so far.
        context_length: Size of the context, in tokens.
        max_tokens: Maximum length of the answer, in tokens.
        thinking: Which thinking the prompt contains.

    Returns:
        The messages that are kept, and the token IDs of their prompt.

    Raises:
        EngineError: ``too_long``: the last question alone does not fit.
        DataError: The template does not support one of the messages.
    """
    kept = list(messages)
    room = min(max_tokens, int(context_length * ROOM_FOR_ANSWER))
    while True:
        ids = template.prompt_ids(kept, thinking=thinking)
        if len(ids) + room <= context_length:
            return kept, ids
        shorter = _without_oldest_turn(kept)
        if shorter is None:
            if len(ids) < context_length:
                return kept, ids
            error = too_long(len(ids), context_length)
            error.fix = t("Shorten it, or start over with /reset.")
            raise error
        kept = shorter


def with_system(messages: Sequence[Message], text: str) -> list[Message]:
    """Set the system message, or remove it if ``text`` is empty."""
    rest = [message for message in messages if message.role != "system"]
    return [Message("system", text), *rest] if text else rest


def without_last_question(messages: Sequence[Message]) -> tuple[list[Message], Message | None]:
    """Remove the last question and its answer; return the rest and the question, if any."""
    for place in range(len(messages) - 1, -1, -1):
        if messages[place].role == "user":
            return list(messages[:place]), messages[place]
    return list(messages), None


def answer_message(text: str) -> Message:
    """An answer as a message, with any thinking in a separate field."""
    thought = _THOUGHT.match(text)
    if thought is None:
        return Message("assistant", text)
    return Message("assistant", text[thought.end() :], thinking=thought[1].strip())


def too_long(num_tokens: int, context_length: int) -> EngineError:
    """The error for a prompt that leaves no room for an answer."""
    return EngineError(
        t(
            "The prompt has {found} tokens; the model supports at most {limit}, "
            "including the answer.",
            found=num_tokens,
            limit=context_length,
        ),
        fix=t("Shorten it."),
        code="too_long",
    )


def _without_oldest_turn(messages: Sequence[Message]) -> list[Message] | None:
    """Drop the first question and its answers; None if only the last question is left."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    if len(users) < 2:
        return None
    return [*messages[: users[0]], *messages[users[1] :]]
