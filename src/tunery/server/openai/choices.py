"""Answers in OpenAI's format: choices that grow delta by delta, and their response objects."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunery.chat.answers import AnswerReader, Content, Piece, Thought
from tunery.chat.tool_calls import CallArguments, CallBegun
from tunery.engines.base import Delta, Ended, Started, TokenLogprob
from tunery.server.openai.errors import Refused
from tunery.server.openai.stream import DONE, encoded, framed


@dataclass(slots=True)
class Usage:
    """Tokens of one request.

    Args:
        prompt: Tokens of all prompts.
        completion: Tokens of all answers.
        reasoning: Those of them spent on thinking.
    """

    prompt: int = 0
    completion: int = 0
    reasoning: int = 0

    def as_dict(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


@dataclass(slots=True)
class Head:
    """The fields that every object of one response shares.

    Args:
        object: ``chat.completion`` or ``text_completion``.
        model: The served name.
        chunk: The object's name in a stream.
        with_usage: Whether a stream sends the usage in a separate chunk after the answers.
    """

    object: str
    model: str
    chunk: str
    with_usage: bool = False
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    _before: bytes = b""
    _after: bytes = b""

    def __post_init__(self) -> None:
        kind = "chatcmpl" if self.object == "chat.completion" else "cmpl"
        self.id = f"{kind}-{secrets.token_hex(16)}"
        more: dict[str, Any] = {"usage": None} if self.with_usage else {}
        before, after = framed(self.part([], **more)).rsplit(b"[]", 1)
        self._before, self._after = before + b"[", b"]" + after

    def whole(self, choices: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        """The complete response."""
        return {**self._head(self.object), "choices": choices, "usage": usage.as_dict()}

    def frame(self, chunk: dict[str, Any]) -> bytes:
        """A choice chunk as a stream event."""
        return self._before + encoded(chunk) + self._after

    def last(self, usage: Usage) -> bytes:
        """The end of a complete stream."""
        told = framed(self.part([], usage=usage.as_dict())) if self.with_usage else b""
        return told + DONE

    def broken(self, refused: Refused) -> bytes:
        """The end of a stream after an error."""
        return framed(refused.body()) + DONE

    def part(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """One chunk of a stream."""
        return {**self._head(self.chunk), "choices": choices, **more}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class Choice(Protocol):
    """One answer under construction."""

    def begin(self) -> list[dict[str, Any]]:
        """Chunks before the first text."""
        ...

    def take(self, delta: Delta) -> list[dict[str, Any]]:
        """Chunks for more text."""
        ...

    def finish(self, ended: Ended) -> list[dict[str, Any]]:
        """The last chunks, with the finish reason."""
        ...

    def told(self) -> dict[str, Any]:
        """The complete choice."""
        ...

    @property
    def num_reasoning(self) -> int:
        """Number of thinking tokens so far."""
        ...


class ChatChoice:
    """One answer of a chat.

    Args:
        index: Its index among the answers.
        reader: Parses the text.
        with_logprobs: Whether they were requested.
    """

    def __init__(self, index: int, reader: AnswerReader, *, with_logprobs: bool) -> None:
        self._index = index
        self._reader = reader
        self._with_logprobs = with_logprobs
        self._waiting: list[dict[str, Any]] = []  # logprobs of tokens that are held back
        self._logprobs: list[dict[str, Any]] = []
        self._thought: list[str] = []
        self._content: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._reason: str | None = None
        self.num_reasoning = 0

    def begin(self) -> list[dict[str, Any]]:
        """The chunk with the role."""
        return [self._chunk({"role": "assistant", "content": ""})]

    def take(self, delta: Delta) -> list[dict[str, Any]]:
        """Chunks for more text."""
        before = self._reader.is_thinking
        pieces = self._reader.feed(delta.text)
        if before or any(isinstance(piece, Thought) for piece in pieces):
            self.num_reasoning += len(delta.token_ids)
        if self._with_logprobs:
            new = [chat_logprob(each) for each in delta.logprobs]
            self._logprobs += new
            self._waiting += new
        return self._chunks(pieces)

    def finish(self, ended: Ended) -> list[dict[str, Any]]:
        """Text that was held back, then the finish reason."""
        chunks = self._chunks(self._reader.end())
        self._reason = _finish_reason(ended, called=self._reader.num_calls > 0)
        return [*chunks, self._chunk({}, self._reason)]

    def told(self) -> dict[str, Any]:
        """The complete choice."""
        content = "".join(self._content)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._calls and not content else content,
            "refusal": None,
        }
        if self._thought:
            message["reasoning_content"] = "".join(self._thought)
        if self._calls:
            message["tool_calls"] = self._calls
        return {
            "index": self._index,
            "message": message,
            "logprobs": self._told(self._logprobs),
            "finish_reason": self._reason,
        }

    def _chunks(self, pieces: Iterable[Piece]) -> list[dict[str, Any]]:
        return [self._chunk(self._keep(piece)) for piece in pieces]

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        told, self._waiting = self._told(self._waiting), []
        return {"index": self._index, "delta": delta, "logprobs": told, "finish_reason": reason}

    def _told(self, logprobs: list[dict[str, Any]]) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        return {"content": logprobs, "refusal": None}

    def _keep(self, piece: Piece) -> dict[str, Any]:
        match piece:
            case Thought(text):
                self._thought.append(text)
                return {"reasoning_content": text}
            case Content(text):
                self._content.append(text)
                return {"content": text}
            case CallBegun(index, call_id, name):
                call = {"id": call_id, "type": "function"}
                self._calls.append({**call, "function": {"name": name, "arguments": ""}})
                function = {"name": name, "arguments": ""}
                return {"tool_calls": [{"index": index, **call, "function": function}]}
            case CallArguments(index, text):
                self._calls[index]["function"]["arguments"] += text
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


class TextChoice:
    """One answer of the legacy API: text, preceded by the prompt if requested.

    Args:
        index: Its index among the answers.
        echo: Text to start with.
        with_logprobs: Whether they were requested.
    """

    num_reasoning = 0

    def __init__(self, index: int, echo: str, *, with_logprobs: bool) -> None:
        self._index = index
        self._echo = echo
        self._with_logprobs = with_logprobs
        self._text = [echo]
        self._length = len(echo)
        self._logprobs = _no_text_logprobs()
        self._reason: str | None = None

    def begin(self) -> list[dict[str, Any]]:
        """The echo, if any."""
        return [self._chunk(self._echo, _no_text_logprobs())] if self._echo else []

    def take(self, delta: Delta) -> list[dict[str, Any]]:
        """A chunk for more text."""
        told = self._take_logprobs(delta.logprobs)
        self._text.append(delta.text)
        self._length += len(delta.text)
        return [self._chunk(delta.text, told)] if delta.text or delta.logprobs else []

    def finish(self, ended: Ended) -> list[dict[str, Any]]:
        """The finish reason."""
        self._reason = _finish_reason(ended, called=False)
        return [self._chunk("", _no_text_logprobs(), self._reason)]

    def told(self) -> dict[str, Any]:
        """The complete choice."""
        return self._chunk("".join(self._text), self._logprobs, self._reason)

    def _chunk(
        self, text: str, logprobs: dict[str, list[Any]], reason: str | None = None
    ) -> dict[str, Any]:
        told = logprobs if self._with_logprobs else None
        return {"index": self._index, "text": text, "logprobs": told, "finish_reason": reason}

    def _take_logprobs(self, new: Sequence[TokenLogprob]) -> dict[str, list[Any]]:
        told = _no_text_logprobs()
        place = self._length
        for each in new:
            told["tokens"].append(each.token)
            told["token_logprobs"].append(each.logprob)
            told["top_logprobs"].append({token: logprob for token, _, logprob in each.top})
            told["text_offset"].append(place)
            place += len(each.token)
        for key, values in told.items():
            self._logprobs[key] += values
        return told


def in_thinking(started: Started, thinking: tuple[str, str]) -> bool:
    """Whether the prompt ends inside a thinking block that the template opened."""
    opened, closed = thinking
    end = started.prompt_text[-4096:].rstrip()
    return end.endswith(opened) or end.rfind(opened) > max(end.rfind(closed), end.rfind("<|"))


def _finish_reason(ended: Ended, *, called: bool) -> str:
    return "tool_calls" if called and ended.reason == "stop" else ended.reason


def chat_logprob(told: TokenLogprob) -> dict[str, Any]:
    """Log-probabilities of one token in the chat format, in nats."""
    return {
        **_token(told.token, told.logprob, told.spelled.get(told.token_id)),
        "top_logprobs": [
            _token(token, logprob, told.spelled.get(number)) for token, number, logprob in told.top
        ],
    }


def _token(token: str, logprob: float, spelled: bytes | None) -> dict[str, Any]:
    # JSON has no minus infinity: a banned token gets the lowest value that the API uses.
    value = max(logprob, -9999.0)
    data = token.encode(errors="replace") if spelled is None else spelled
    return {"token": token, "logprob": value, "bytes": list(data)}


def _no_text_logprobs() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
