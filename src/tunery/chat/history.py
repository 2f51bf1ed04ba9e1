"""What a conversation remembers: the turns that fit, the last question taken back, its thinking."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunery.chat.messages import Thinking
from tunery.chat.template import ChatTemplate
from tunery.errors import EngineError
from tunery.i18n import t
from tunery.types import Message

ROOM_FOR_ANSWER = 0.25
"""Share of the context that an answer may claim before old turns are left out."""
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def fitting(
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    context_length: int,
    max_tokens: int,
    thinking: Thinking = "strip_history",
) -> tuple[list[Message], list[int]]:
    """Drop the oldest turns until the prompt and a reasonable answer fit the context.

    Returns:
        The messages that are kept, and their prompt's token ids.

    Raises:
        EngineError: ``too_long``: the last question alone does not fit.
        DataError: The template has no place for such a message.
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
    """Set the system message, or with an empty text take it away."""
    rest = [message for message in messages if message.role != "system"]
    return [Message("system", text), *rest] if text else rest


def without_last_question(messages: Sequence[Message]) -> tuple[list[Message], Message | None]:
    """Remove the last question and its answer; None if there is none."""
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
    """Drop the first question with all that answered it; None if only the last one is left."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    if len(users) < 2:
        return None
    return [*messages[: users[0]], *messages[users[1] :]]
