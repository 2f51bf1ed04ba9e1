"""StubEngine: an engine without a model. Deterministic, so that its callers can be tested exactly.

A token is a word, its id the place in the answer, its log-probability -0.1.
It answers with the last message (or the raw prompt) and then counts: ``echo: hello 1 2 3 ...``,
one word a token. Sampled answers begin with ``seed N:``. It honours stop, max_tokens, n, cancel,
logprobs, and a queue bound.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from tunery.engines.base import (
    EVERYTHING,
    Capability,
    Delta,
    Ended,
    EndReason,
    EngineEvent,
    EngineStatus,
    GenerateRequest,
    Started,
    TokenLogprob,
)
from tunery.engines.embed import Embedded
from tunery.errors import EngineError


class StubEngine:
    """Echoes, at a set speed.

    Args:
        tokens_per_second: Speed of every answer; 0 is as fast as the loop goes.
        context_length: Most words of prompt and answer together.
        max_waiting: Requests that may be open; one more is refused as ``full``.
        words: Words of an answer after the echo; then it stops by itself.
        answer: What is said in place of the echo and the counting, such as a tool call.
    """

    def __init__(
        self,
        *,
        tokens_per_second: float = 50.0,
        context_length: int = 2048,
        max_waiting: int = 1000,
        words: int = 8,
        answer: str | None = None,
    ) -> None:
        self.base = "/stub"
        self.tokens_per_second = tokens_per_second
        self.context_length = context_length
        self.max_waiting = max_waiting
        self.words = words
        self.answer = answer
        self.open_requests = 0
        self.cancelled = 0
        self.num_tokens = 0
        self.closed = False
        self.adapters: list[str] = []
        self.requests: list[GenerateRequest] = []

    @property
    def can(self) -> frozenset[Capability]:
        """Everything, in its way."""
        return EVERYTHING

    async def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Answer every index in turns, as a batching engine would."""
        self._check(request)
        self.requests.append(request)
        self.open_requests += 1
        began = time.perf_counter()
        ended = 0
        try:
            prompt = render(request)
            yield Started(len(prompt.split()), prompt)
            rows = [_Row(self, request, i, len(prompt.split())) for i in range(request.num_answers)]
            while any(row.reason is None for row in rows):
                if self.tokens_per_second:
                    await asyncio.sleep(1 / self.tokens_per_second)
                else:
                    await asyncio.sleep(0)
                for row in rows:
                    if row.reason is not None:
                        continue
                    delta = row.step()
                    self.num_tokens += 1
                    if row.first == 0:
                        row.first = time.perf_counter() - began
                    if delta is not None:
                        yield delta
                    if row.reason is not None:
                        ended += 1
                        yield Ended(
                            row.index, row.reason, row.count, row.first,
                            time.perf_counter() - began, *row.rest(), row.stop,
                        )  # fmt: skip
        finally:
            self.open_requests -= 1
            self.cancelled += ended < request.num_answers

    async def count_tokens(self, request: GenerateRequest) -> int:
        """Words of the rendered prompt."""
        return len(render(request).split())

    async def embed(self, text: str | Sequence[int], *, adapter: str | None = None) -> Embedded:
        """The share of each vowel; token ids count as their sum."""
        if isinstance(text, str) and len(text.split()) > self.context_length:
            raise EngineError("The text has too many tokens.", code="too_long")
        counts = [text.count(v) if isinstance(text, str) else sum(text) for v in "aeiou"]
        length = sum(count * count for count in counts) ** 0.5 or 1.0
        return Embedded(tuple(count / length for count in counts), len(str(text).split()))

    async def score(self, ids: Sequence[int], *, adapter: str | None = None) -> list[float]:
        """Every token alike."""
        self._check(GenerateRequest(prompt_ids=ids, adapter=adapter))
        return [-0.2 if adapter else -0.1] * (len(ids) - 1)

    def is_alive(self) -> bool:
        """Until it is closed."""
        return not self.closed

    async def status(self) -> EngineStatus:
        """Always ready."""
        return EngineStatus(
            base=self.base, state="ready", device="cpu", dtype="fp32",
            context_length=self.context_length, memory_bytes=1 << 20, adapters=self.adapters,
            num_running=self.open_requests, num_tokens=self.num_tokens,
        )  # fmt: skip

    async def close(self) -> None:
        """Be closed."""
        self.closed = True

    def _check(self, request: GenerateRequest) -> None:
        if request.prompt_ids is not None and not request.prompt_ids:
            raise EngineError("The prompt is empty.", code="bad_template")
        if self.closed:
            raise EngineError("The engine has stopped.", code="gone")
        if self.open_requests >= self.max_waiting:
            raise EngineError("The queue is full.", fix="Try again soon.", code="queue_full")
        if len(render(request).split()) >= self.context_length:
            raise EngineError("The prompt is too long.", code="too_long")
        if request.json_schema is not None and request.json_schema.get("type") == "no such type":
            raise EngineError("The schema cannot be used.", code="bad_schema")
        if request.adapter is not None and request.adapter not in self.adapters:
            if "missing" in request.adapter:
                raise EngineError("There is no such adapter.", code="bad_adapter")
            self.adapters.append(request.adapter)


def render(request: GenerateRequest) -> str:
    """The prompt as the stub reads it."""
    if request.prompt_ids is not None:
        return " ".join(map(str, request.prompt_ids))
    if request.prompt is not None:
        return request.prompt
    return "\n".join(f"<{m['role']}> {m.get('content') or ''}" for m in request.messages or ())


class _Row:
    def __init__(
        self, engine: StubEngine, request: GenerateRequest, index: int, prompt_words: int
    ) -> None:
        self.index = index
        self.count = 0
        self.first = 0.0
        self.reason: EndReason | None = None
        self.stop = ""
        self._request = request
        room = engine.context_length - prompt_words
        self._limit = min(request.max_tokens or room, room)
        self._words = _words(engine, request, index)
        self._text = ""
        self._said = 0
        self._untold: list[int] = []
        self._spelled: dict[int, str] = {}

    def step(self) -> Delta | None:
        word = next(self._words, None)
        self.count += 1
        self._untold.append(self.count)
        self._spelled[self.count] = word or ""
        if word is None or self.count in (self._request.stop_ids or ()):
            self.reason = "stop"
            return self._say(len(self._text))
        self._text += word
        cuts = [(at, s) for s in self._request.stop if s and (at := self._text.find(s)) >= 0]
        if cuts:
            self.reason = "stop"
            place, self.stop = min(cuts)
            return self._say(place)
        if self.count >= self._limit:
            self.reason = "length"
            return self._say(len(self._text))
        return self._say(len(self._text) - self._held())

    def _held(self) -> int:
        """Letters at the end that may begin a stop text."""
        for length in range(max(map(len, self._request.stop), default=0), 0, -1):
            if any(s.startswith(self._text[-length:]) for s in self._request.stop):
                return length
        return 0

    def rest(self) -> tuple[tuple[int, ...], tuple[TokenLogprob, ...]]:
        """Tokens that were not told yet, and their log-probabilities where asked for."""
        ids, self._untold = tuple(self._untold), []
        return ids, self._logprobs(ids)

    def _say(self, until: int) -> Delta | None:
        piece, self._said = self._text[self._said : until], max(until, self._said)
        if not piece:
            return None
        whole = until == len(self._text) and not self._text[self._said :]
        kept = [] if whole and self.reason != "stop" else self._untold[-1:]
        told = tuple(self._untold[: len(self._untold) - len(kept)])
        self._untold = kept
        return Delta(self.index, piece, told, self._logprobs(told))

    def _logprobs(self, ids: Sequence[int]) -> tuple[TokenLogprob, ...]:
        wanted = self._request.top_logprobs
        if wanted is None:
            return ()
        drawn = -0.1 if self._request.sampling.temperature else 0.0
        told: list[TokenLogprob] = []
        for token in ids:
            word = self._spelled[token]
            top = tuple((f"{word}{i}" if i else word, i, -0.1 - i) for i in range(wanted))
            told.append(TokenLogprob(word, token, -0.1, top, drawn))
        return tuple(told)


def _words(engine: StubEngine, request: GenerateRequest, index: int) -> Iterator[str]:
    if engine.answer is not None:
        text = engine.answer
    elif request.json_schema is not None:
        text = json.dumps(_example(request.json_schema))
    else:
        said = request.prompt if request.prompt is not None else ""
        if request.messages:
            said = str(request.messages[-1].get("content") or "")
        sampled = request.sampling.temperature > 0
        head = f"seed {(request.sampling.seed or 0) + index}: " if sampled else ""
        worn = f"[{request.adapter}] " if request.adapter else ""
        text = f"{head}{worn}echo: {said}"
        text += "".join(f" {i}" for i in range(1, engine.words + 1))
    pieces = text.split(" ")
    return itertools.chain([pieces[0]], (f" {piece}" for piece in pieces[1:]))


def _example(schema: Any) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {key: _example(value) for key, value in schema.get("properties", {}).items()}
        case "array":
            return [_example(schema.get("items", {}))]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "text"
