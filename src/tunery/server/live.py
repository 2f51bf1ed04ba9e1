"""The live channel: one stream of server-sent events for everything that a browser watches.

``GET /api/v1/events?topics=a,b&after=CURSOR``; every event carries an array of messages, each
``{"topic", "kind", ...}``, and its ``id`` is the cursor of all topics after it, so
``Last-Event-ID`` resumes exactly. Nothing is queued per client: a topic is read only when the
client has received the previous event, so a slow one costs nothing. ``/poll`` does one read, for
proxies that buffer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from tunery.errors import ConfigError, TuneryError
from tunery.i18n import t, voice
from tunery.server import problems, topics
from tunery.server.security.access import needs
from tunery.types import is_object

BATCH_SECONDS = 0.25
BEAT_SECONDS = 10.0
MOST_TOPICS = 32
CURSOR_CHARACTERS = 8192
HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
}

_log = logging.getLogger("tunery.server")
router = APIRouter(prefix="/api/v1/events", tags=["events"], dependencies=[Depends(needs("jobs"))])


@router.get("")
async def events(request: Request, topics: str = "", after: str = "") -> Response:
    """Stream the changes of the given topics (``text/event-stream``).

    ``after``, or the header ``Last-Event-ID``, is the cursor to continue from.
    """
    last = request.headers.get("last-event-id", "")
    # A browser repeats the header by itself and would give up for good after a refusal.
    watched = _watched(topics, last if _cursors(last) else after)
    await run_in_threadpool(_check, watched)
    stream = _stream(watched, request.app.state.ending, request.app.state.reader)
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)


@router.get("/poll")
async def poll(request: Request, topics: str = "", after: str = "") -> Response:
    """Get the changes of the given topics since a cursor, once: ``{"cursor", "messages"}``."""
    watched = _watched(topics, after)
    await run_in_threadpool(_check, watched)
    messages = await _read(watched, request.app.state.reader)
    answer = {"cursor": _cursor(watched), "messages": messages}
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


Reading = tuple[list[dict[str, Any]], str]
"""New messages of a topic, and the cursor after them."""


@dataclass(slots=True)
class Watched:
    """One topic that a client watches, and the client's position."""

    name: str
    cursor: str
    over: bool = False


class Reader:
    """Reads topics for all clients: those at the same position share one read.

    Usually all clients are up to date, so fifty pages cost one read per quarter of a second. Only
    the latest reads are kept.
    """

    def __init__(self) -> None:
        self._readings: dict[
            tuple[str, str, tuple[str, str]], tuple[float, asyncio.Task[Reading]]
        ] = {}

    async def read(self, watched: Watched) -> asyncio.Task[Reading]:
        """Read a topic after a cursor; the task is finished, with a result or an exception."""
        now = time.monotonic()
        key = (watched.name, watched.cursor, voice())
        known = self._readings.get(key)
        if known is None or now - known[0] >= BATCH_SECONDS:
            self._readings = {k: v for k, v in self._readings.items() if now - v[0] < 1}
            reading = asyncio.create_task(run_in_threadpool(_ask, watched.name, watched.cursor))
            known = self._readings[key] = (now, reading)
        await asyncio.wait({known[1]})  # a client that leaves does not cancel it for others
        return known[1]


def _ask(name: str, cursor: str) -> Reading:
    topic, argument = topics.find(name)
    return topic.read(argument, cursor)


async def _stream(
    watched: list[Watched], ending: asyncio.Event, reader: Reader
) -> AsyncGenerator[str]:
    yield "retry: 1000\n\n"
    last = time.monotonic()
    told = _cursor(watched)
    while not ending.is_set():
        messages = await _read(watched, reader)
        cursor = _cursor(watched)
        now = time.monotonic()
        if messages:
            data = json.dumps(messages, ensure_ascii=False, separators=(",", ":"))
            yield f"id: {cursor}\ndata: {data}\n\n"
            last = now
        elif cursor != told:
            yield f"id: {cursor}\n\n"
            last = now
        elif now - last >= BEAT_SECONDS:
            yield ": beat\n\n"
            last = now
        told = cursor
        try:
            await asyncio.wait_for(ending.wait(), BATCH_SECONDS)
        except TimeoutError:
            continue


async def _read(watched: list[Watched], reader: Reader) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for topic in watched:
        if topic.over:
            continue
        reading = await reader.read(topic)
        match reading.exception():
            case None:
                found, topic.cursor = reading.result()
            case TuneryError() as error:
                topic.over, found = True, [{"kind": "error", **_said(error)}]
            case error:
                _log.error("topic %s", topic.name, exc_info=error)
                detail = t("Live updates are not available: internal error in Tunery.")
                topic.over = True
                found = [{"kind": "error", "detail": detail, "code": "internal"}]
        messages += [{"topic": topic.name, **message} for message in found]
    return messages


def _said(error: TuneryError) -> dict[str, str]:
    problem = problems.from_error(error)
    return {"detail": problem.detail, "fix": problem.fix, "code": problem.code}


def _watched(names: str, after: str) -> list[Watched]:
    wanted = list(dict.fromkeys(name for name in names.split(",") if name))
    if not 1 <= len(wanted) <= MOST_TOPICS or len(after) > CURSOR_CHARACTERS:
        raise ConfigError(
            t("Specify 1 to {most} topics.", most=MOST_TOPICS), fix="?topics=runs,machine"
        )
    cursors = _cursors(after or "{}")
    if cursors is None:
        raise ConfigError(
            t("after must be a cursor that this address returned; leave it out to begin."),
            code="bad_query",
        )
    return [Watched(name, str(cursors.get(name) or "")) for name in wanted]


def _cursors(text: str) -> dict[str, Any] | None:
    """The cursor of each topic; None if the text is no cursor of this server."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if is_object(found) else None


def _check(watched: list[Watched]) -> None:
    for topic in watched:
        topics.find(topic.name)


def _cursor(watched: list[Watched]) -> str:
    cursors = {topic.name: topic.cursor for topic in watched}
    return json.dumps(cursors, separators=(",", ":"))  # ASCII, as it is also sent in a header
