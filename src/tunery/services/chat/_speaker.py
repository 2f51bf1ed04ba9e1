"""A participant in a chat of this process: an engine, a template, and the messages so far."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tunery.engines.base import (
    GREEDY,
    Delta,
    Ended,
    EndReason,
    Engine,
    EngineEvent,
    GenerateRequest,
    SamplingOptions,
    Started,
)
from tunery.types import Message

if TYPE_CHECKING:
    from tunery.chat.messages import Thinking
    from tunery.chat.template import ChatTemplate

MAX_NEW_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Settings:
    """How answers are sampled in a chat.

    Args:
        sampling: Temperature and the rest; the same for all speakers.
        max_new_tokens: Maximum number of tokens per answer.
        stop_strings: Texts that end an answer.
    """

    sampling: SamplingOptions = GREEDY
    max_new_tokens: int = MAX_NEW_TOKENS
    stop_strings: tuple[str, ...] = ()

    def with_sampling(self, **changes: Any) -> Settings:
        """Return a copy with some sampling values changed."""
        return dataclasses.replace(self, sampling=dataclasses.replace(self.sampling, **changes))

    def with_limit(self, max_new_tokens: int) -> Settings:
        """Return a copy with another maximum number of tokens per answer."""
        return dataclasses.replace(self, max_new_tokens=max_new_tokens)


@dataclass(slots=True)
class Reply:
    """One answer and its statistics.

    Args:
        text: What the model said, with control tokens spelled out.
        ids: Its token ids, without the stop token.
        ending: How it ended; ``interrupted`` until then.
        num_prompt_tokens: Tokens in the prompt.
        first_token_seconds: From the request to the first token.
        seconds: From the request to the end.
    """

    text: str = ""
    ids: list[int] = field(default_factory=list[int])
    ending: EndReason = "interrupted"
    num_prompt_tokens: int = 0
    first_token_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second after the first one; 0 if there were fewer than two."""
        rest = self.seconds - self.first_token_seconds
        return (len(self.ids) - 1) / rest if len(self.ids) > 1 and rest > 0 else 0.0


@dataclass
class Speaker:
    """A base model, with or without one of its adapters, and its side of a conversation.

    Args:
        label: Its display name: the name of a model or a run.
        engine: The engine of the base model.
        context_length: Maximum number of tokens of prompt and answer together.
        template: How conversations are rendered for it, as in training.
        adapter: Folder of the adapter; None for the base model.
        thinking: What happens to earlier thinking, as in the run's training.
        messages: The conversation so far, starting with the system message if there is one.
    """

    label: str
    engine: Engine
    context_length: int
    template: ChatTemplate
    adapter: str | None = None
    thinking: Thinking = "strip_history"
    messages: list[Message] = field(default_factory=list[Message])

    def ask(
        self,
        text: str,
        settings: Settings,
        *,
        on_text: Callable[[str], object],
        should_stop: Callable[[], bool],
    ) -> tuple[Reply, int]:
        """Send a message and return the answer; both are kept, even if the answer was stopped.

        Returns:
            The answer, and how many of the oldest messages were left out because they exceed the
            model's context length.

        Raises:
            EngineError: The text alone is too long for the model.
            DataError: The template does not support such a message.
        """
        from tunery.chat import history

        asked = [*self.messages, Message("user", text)]
        kept, ids = history.fitting(
            self.template, asked, context_length=self.context_length,
            max_tokens=settings.max_new_tokens, thinking=self.thinking,
        )  # fmt: skip
        request = GenerateRequest(
            prompt_ids=ids,
            stop_ids=sorted(self.template.stop_ids),
            adapter=self.adapter,
            max_tokens=settings.max_new_tokens,
            stop=settings.stop_strings,
            sampling=settings.sampling,
        )
        reply = asyncio.run(_heard(self.engine, request, on_text, should_stop))
        self.messages = [*kept, history.answer_message(reply.text)]
        return reply, len(asked) - len(kept)

    def undo(self) -> Message | None:
        """Take back the last question and its answer; return the question."""
        from tunery.chat import history

        self.messages, question = history.without_last_question(self.messages)
        return question

    def system(self, text: str) -> None:
        """Set the system message; an empty text removes it."""
        from tunery.chat import history

        self.messages = history.with_system(self.messages, text)

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [message for message in self.messages if message.role == "system"]


async def _heard(
    engine: Engine,
    request: GenerateRequest,
    on_text: Callable[[str], object],
    should_stop: Callable[[], bool],
) -> Reply:
    """Receive one answer until it ends or is stopped."""
    reply, began = Reply(), time.perf_counter()
    generated = cast("AsyncGenerator[EngineEvent]", engine.generate(request))
    async with aclosing(generated) as events:
        async for event in events:
            match event:
                case Started():
                    reply.num_prompt_tokens = event.num_prompt_tokens
                case Delta():
                    reply.first_token_seconds = (
                        reply.first_token_seconds or time.perf_counter() - began
                    )
                    reply.text += event.text
                    reply.ids += event.token_ids
                    on_text(event.text)
                case Ended():
                    reply.ending = event.reason
                    reply.first_token_seconds = event.first_token_seconds
            if reply.ending == "interrupted" and should_stop():
                break
    reply.seconds = time.perf_counter() - began
    return reply
