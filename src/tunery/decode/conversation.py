"""One speaker in a chat: a model's way of answering, and the conversation it has had.

Rendering is chat.template's, so a chat reads to the model exactly as a row did in training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunery.chat.messages import Thinking
from tunery.chat.template import ChatTemplate
from tunery.decode.engine import Engine, OnText, Reply, too_long
from tunery.decode.options import GREEDY, Sampling
from tunery.types import Message

ROOM_FOR_ANSWER = 0.25
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


@dataclass
class Speaker:
    """A base model, with or without one of its adapters, and its side of a conversation.

    Args:
        label: What people call it: a model's or a run's name.
        engine: The loaded base.
        template: How conversations are written for it.
        adapter: Name of the adapter on the engine; None is the bare base.
        thinking: What becomes of earlier thinking, as in the run's training.
        messages: What was said so far, a system message first where there is one.
    """

    label: str
    engine: Engine
    template: ChatTemplate
    adapter: str | None = None
    thinking: Thinking = "strip_history"
    messages: list[Message] = field(default_factory=list)

    def ask(
        self,
        text: str,
        *,
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stop_strings: Sequence[str] = (),
        on_text: OnText | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> tuple[Reply, int]:
        """Say something and get the answer; both are kept, also of an answer that was stopped.

        Returns:
            The answer, and how many of the oldest messages were left out because the model
            cannot read that much.

        Raises:
            EngineError: The text alone is too long for the model.
            DataError: The template has no place for such a message.
        """
        asked = [*self.messages, Message("user", text)]
        kept, prompt_ids = self._fit(asked, max_new_tokens)
        reply = self.engine.answer(
            prompt_ids,
            adapter=self.adapter,
            stop_ids=self.template.stop_ids,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            stop_strings=stop_strings,
            on_text=on_text,
            should_stop=should_stop,
        )
        self.messages = [*kept, _answer(reply.text)]
        return reply, len(asked) - len(kept)

    def system(self, text: str) -> None:
        """Set the system message, or with an empty text take it away."""
        rest = [message for message in self.messages if message.role != "system"]
        self.messages = [Message("system", text), *rest] if text else rest

    def undo(self) -> Message | None:
        """Take back the last question and its answer; return the question."""
        for place in range(len(self.messages) - 1, -1, -1):
            if self.messages[place].role == "user":
                question = self.messages[place]
                del self.messages[place:]
                return question
        return None

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [message for message in self.messages if message.role == "system"]

    def _fit(self, messages: list[Message], max_new_tokens: int) -> tuple[list[Message], list[int]]:
        """Leave out the oldest turns until prompt and a fair answer fit the context."""
        limit = self.engine.context_length
        room = min(max_new_tokens, int(limit * ROOM_FOR_ANSWER))
        while True:
            ids = self.template.prompt_ids(messages, thinking=self.thinking)
            if len(ids) + room <= limit:
                return messages, ids
            shorter = _without_oldest_turn(messages)
            if shorter is None:
                if len(ids) < limit:
                    return messages, ids
                raise too_long(len(ids), limit)
            messages = shorter


def _without_oldest_turn(messages: Sequence[Message]) -> list[Message] | None:
    """Drop the first question with all that answered it; None if only the last one is left."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    if len(users) < 2:
        return None
    return [*messages[: users[0]], *messages[users[1] :]]


def _answer(text: str) -> Message:
    """The answer as a message, its thinking apart where it has some."""
    thought = _THOUGHT.match(text)
    if thought is None:
        return Message("assistant", text)
    return Message("assistant", text[thought.end() :], thinking=thought[1].strip())
