"""A message under construction: blocks of thinking, text and tool use, and their events."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any

from tunery.chat.answers import AnswerReader, Content, Piece, Thought
from tunery.chat.tool_calls import CallArguments, CallBegun
from tunery.engines.base import Delta, Ended
from tunery.server.anthropic import errors
from tunery.server.openai.choices import Usage
from tunery.server.openai.errors import Refused
from tunery.server.openai.stream import framed


class Answer:
    """One message: both the ``Shape`` of the whole and its only ``Choice``.

    Args:
        model: The served name.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.num_reasoning = 0
        self._id = f"msg_{secrets.token_hex(12)}"
        self._reader: AnswerReader | None = None
        self._num_prompt = 0
        self._blocks: list[dict[str, Any]] = []
        self._arguments = ""
        self._is_open = False
        self._reason: str | None = None
        self._stop: str | None = None

    def read_with(self, reader: AnswerReader, num_prompt_tokens: int) -> Answer:
        """Start with a reader that parses the engine's text."""
        self._reader = reader
        self._num_prompt = num_prompt_tokens
        return self

    def begin(self) -> list[dict[str, Any]]:
        """Events before the first text."""
        return [{"type": "message_start", "message": self._message(Usage(self._num_prompt))}]

    def take(self, delta: Delta) -> list[dict[str, Any]]:
        """Events for more text."""
        assert self._reader is not None
        before = self._reader.is_thinking
        pieces = self._reader.feed(delta.text)
        if before or any(isinstance(piece, Thought) for piece in pieces):
            self.num_reasoning += len(delta.token_ids)
        return self._events(pieces)

    def finish(self, ended: Ended) -> list[dict[str, Any]]:
        """Events for text that was held back, and the end of the last block."""
        assert self._reader is not None
        events = [*self._events(self._reader.end()), *self._close()]
        if ended.reason == "length":
            self._reason = "max_tokens"
        elif self._reader.num_calls:
            self._reason = "tool_use"
        else:
            self._reason = "stop_sequence" if ended.stop else "end_turn"
        self._stop = ended.stop or None if self._reason == "stop_sequence" else None
        return events

    def told(self) -> dict[str, Any]:
        """The blocks so far."""
        return {"content": [dict(block) for block in self._blocks]}

    def whole(self, choices: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        """The complete message."""
        return self._message(usage)

    def frame(self, chunk: dict[str, Any]) -> bytes:
        """One event."""
        return framed(chunk, chunk["type"])

    def last(self, usage: Usage) -> bytes:
        """The events that end a stream."""
        delta = {"stop_reason": self._reason, "stop_sequence": self._stop}
        told = {"type": "message_delta", "delta": delta, "usage": _usage(usage)}
        return self.frame(told) + self.frame({"type": "message_stop"})

    def broken(self, refused: Refused) -> bytes:
        """The event that ends a stream after an error."""
        return framed(errors.body(refused), "error")

    def _events(self, pieces: Iterable[Piece]) -> list[dict[str, Any]]:
        return [event for piece in pieces for event in self._piece(piece)]

    def _piece(self, piece: Piece) -> list[dict[str, Any]]:
        match piece:
            case Thought(text):
                opened = self._open("thinking", {"thinking": "", "signature": ""})
                self._blocks[-1]["thinking"] += text
                return [*opened, self._delta("thinking_delta", thinking=text)]
            case Content(text):
                opened = self._open("text", {"text": ""})
                self._blocks[-1]["text"] += text
                return [*opened, self._delta("text_delta", text=text)]
            case CallBegun(_, call_id, name):
                closed = self._close()
                opened = self._open("tool_use", {"id": call_id, "name": name, "input": {}})
                return [*closed, *opened]
            case CallArguments(_, text):
                self._arguments += text
                return [self._delta("input_json_delta", partial_json=text)]

    def _open(self, kind: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
        """Begin a block, unless the current text block continues."""
        if self._is_open and self._blocks[-1]["type"] == kind:
            return []
        closed = self._close()
        self._blocks.append({"type": kind, **fields})
        self._is_open = True
        started = {
            "type": "content_block_start",
            "index": len(self._blocks) - 1,
            "content_block": dict(self._blocks[-1]),
        }
        return [*closed, started]

    def _close(self) -> list[dict[str, Any]]:
        if not self._is_open:
            return []
        self._is_open = False
        if self._blocks[-1]["type"] == "tool_use":
            self._blocks[-1]["input"] = _object(self._arguments)
            self._arguments = ""
        return [{"type": "content_block_stop", "index": len(self._blocks) - 1}]

    def _delta(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {
            "type": "content_block_delta",
            "index": len(self._blocks) - 1,
            "delta": {"type": kind, **fields},
        }

    def _message(self, usage: Usage) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            **self.told(),
            "stop_reason": self._reason,
            "stop_sequence": self._stop,
            "usage": _usage(usage),
        }


def _object(text: str) -> dict[str, Any]:
    """The arguments of a call; empty if max_tokens cut them off."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "output_tokens": usage.completion,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
