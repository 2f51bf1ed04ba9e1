"""A response under construction: items of thinking, text and calls, and their events."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Iterable
from typing import Any

from tunery.chat.answers import AnswerReader, Content, Piece, Thought
from tunery.chat.tool_calls import CallArguments, CallBegun
from tunery.engines.base import Delta, Ended
from tunery.server.openai.choices import Usage, chat_logprob
from tunery.server.openai.errors import Refused
from tunery.server.openai.responses_schema import ResponsesRequest
from tunery.server.openai.stream import framed

_IDS = {"reasoning": "rs", "message": "msg", "function_call": "fc"}


class Answer:
    """One response: both the ``Shape`` of the whole and its only ``Choice``.

    Args:
        request: The request; parts of it are echoed.
    """

    def __init__(self, request: ResponsesRequest) -> None:
        self.model = request.model
        self.num_reasoning = 0
        self._request = request
        self._id = f"resp_{secrets.token_hex(24)}"
        self._created = int(time.time())
        self._reader: AnswerReader | None = None
        self._items: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []  # logprobs of tokens that are held back
        self._number = 0
        self._is_open = False
        self._cut = False

    def read_with(self, reader: AnswerReader) -> Answer:
        """Start with a reader that parses the engine's text."""
        self._reader = reader
        return self

    def begin(self) -> list[dict[str, Any]]:
        """Events before the first text."""
        response = self._response("in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def take(self, delta: Delta) -> list[dict[str, Any]]:
        """Events for more text."""
        assert self._reader is not None
        before = self._reader.is_thinking
        pieces = self._reader.feed(delta.text)
        if before or any(isinstance(piece, Thought) for piece in pieces):
            self.num_reasoning += len(delta.token_ids)
        if self._request.with_logprobs:
            self._waiting += [chat_logprob(each) for each in delta.logprobs]
        return self._events(pieces)

    def finish(self, ended: Ended) -> list[dict[str, Any]]:
        """Events for text that was held back, and the end of the last item."""
        assert self._reader is not None
        events = self._events(self._reader.end())
        self._cut = ended.reason == "length"
        return [*events, *self._close("incomplete" if self._cut else "completed")]

    def told(self) -> dict[str, Any]:
        """The items so far."""
        return {"output": [self._item(place) for place in range(len(self._items))]}

    def whole(self, choices: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        """The complete response."""
        return self._response("incomplete" if self._cut else "completed", usage)

    def frame(self, chunk: dict[str, Any]) -> bytes:
        """One event."""
        return framed(chunk, chunk["type"])

    def last(self, usage: Usage) -> bytes:
        """The event that ends a stream."""
        status = "incomplete" if self._cut else "completed"
        response = self._response(status, usage)
        return self.frame(self._event(f"response.{status}", response=response))

    def broken(self, refused: Refused) -> bytes:
        """The event that ends a stream after an error."""
        response = self._response("failed")
        code = "rate_limit_exceeded" if refused.status == 429 else "server_error"
        response["error"] = {"code": code, "message": refused.message}
        return self.frame(self._event("response.failed", response=response))

    def _events(self, pieces: Iterable[Piece]) -> list[dict[str, Any]]:
        return [event for piece in pieces for event in self._piece(piece)]

    def _piece(self, piece: Piece) -> list[dict[str, Any]]:
        match piece:
            case Thought(text):
                opened = self._open_text("reasoning", "reasoning_text")
                self._items[-1]["content"][0]["text"] += text
                return [*opened, self._told("reasoning_text.delta", content_index=0, delta=text)]
            case Content(text):
                opened = self._open_text("message", "output_text")
                part = self._items[-1]["content"][0]
                part["text"] += text
                told, self._waiting = self._waiting, []
                part["logprobs"] += told
                delta = self._told("output_text.delta", content_index=0, delta=text, logprobs=told)
                return [*opened, delta]
            case CallBegun(_, call_id, name):
                closed = self._close()
                call = {"call_id": call_id, "name": name, "arguments": ""}
                return [*closed, self._open("function_call", call)]
            case CallArguments(_, text):
                self._items[-1]["arguments"] += text
                return [self._told("function_call_arguments.delta", delta=text)]

    def _open_text(self, kind: str, part: str) -> list[dict[str, Any]]:
        """Begin an item with one text part, unless it is the current one."""
        if self._is_open and self._items[-1]["type"] == kind:
            return []
        events = self._close()
        more: dict[str, Any] = {"summary": []} if kind == "reasoning" else {"role": "assistant"}
        events.append(self._open(kind, {**more, "content": []}))
        told: dict[str, Any] = {"type": part, "text": ""}
        if kind == "message":
            told |= {"annotations": [], "logprobs": []}
        events.append(self._told("content_part.added", content_index=0, part=copy.deepcopy(told)))
        self._items[-1]["content"].append(told)
        return events

    def _open(self, kind: str, more: dict[str, Any]) -> dict[str, Any]:
        item = {"id": f"{_IDS[kind]}_{secrets.token_hex(24)}", "type": kind}
        self._items.append({**item, "status": "in_progress", **more})
        self._is_open = True
        return self._event(
            "response.output_item.added", output_index=len(self._items) - 1, item=self._item(-1)
        )

    def _close(self, status: str = "completed") -> list[dict[str, Any]]:
        """End the current item."""
        if not self._is_open:
            return []
        self._is_open = False
        item = self._items[-1]
        item["status"] = status
        events: list[dict[str, Any]] = []
        if item["type"] == "function_call":
            events.append(
                self._told(
                    "function_call_arguments.done", arguments=item["arguments"], name=item["name"]
                )
            )
        else:
            part = item["content"][0]
            done: dict[str, Any] = {"content_index": 0, "text": part["text"]}
            if item["type"] == "message":
                done["logprobs"] = part["logprobs"]
            events.append(self._told(f"{part['type']}.done", **done))
            events.append(self._told("content_part.done", content_index=0, part={**part}))
        events.append(
            self._event(
                "response.output_item.done",
                output_index=len(self._items) - 1,
                item=self._item(-1),
            )
        )
        return events

    def _item(self, place: int) -> dict[str, Any]:
        item = self._items[place]
        return {**item, "content": [*item["content"]]} if "content" in item else {**item}

    def _told(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        """An event about the current item."""
        return self._event(
            f"response.{kind}",
            item_id=self._items[-1]["id"],
            output_index=len(self._items) - 1,
            **fields,
        )

    def _event(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event

    def _response(self, status: str, usage: Usage | None = None) -> dict[str, Any]:
        asked = self._request
        choice = asked.tool_choice
        wanted = asked.text.format
        told = wanted.model_dump(by_alias=True, exclude_unset=True) if wanted else {}
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"}
            if status == "incomplete"
            else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": {},
            "model": asked.model,
            **self.told(),
            "parallel_tool_calls": asked.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {
                "effort": asked.reasoning.effort if asked.reasoning else None,
                "summary": None,
            },
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text", **told}},
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [
                {"parameters": None, "strict": None, **tool.model_dump()} for tool in asked.tools
            ],
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": _usage(usage) if usage else None,
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }
