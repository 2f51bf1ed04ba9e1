"""What every request to ``/v1`` passes: counting, limits, finding the model, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from tunery.errors import TuneryError
from tunery.server.openai import limits, quota
from tunery.server.openai.errors import Refused, of_tunery
from tunery.server.openai.metrics import Metrics
from tunery.server.openai.quota import Quotas
from tunery.server.openai.reading import read
from tunery.server.openai.schemas import Body
from tunery.server.openai.stream import ClientGone, while_connected
from tunery.services import chat
from tunery.services.chat import Target

R = TypeVar("R", bound=Body)
CLIENT_GONE = 499  # nginx's status for it; nobody reads this response
TARGET_SECONDS = 5.0  # resolving a name for each request would read its files each time


@dataclass(slots=True)
class State:
    """State shared by the routes of one server.

    Args:
        metrics: Its metrics.
        rate: Rate limit per key.
        quotas: What keys with limits have used.
        num_open: Requests being answered now.
        targets: The target of each model name, and until when it is cached.
    """

    metrics: Metrics = field(default_factory=Metrics)
    rate: limits.Rate = field(default_factory=limits.Rate)
    quotas: Quotas = field(default_factory=Quotas)
    num_open: int = 0
    targets: dict[str, tuple[Target, float]] = field(
        default_factory=dict[str, tuple[Target, float]]
    )


class ApiRoute(APIRoute):
    """A route with the error format of its API; its requests are counted and limited."""

    def refused(self, refused: Refused) -> Response:
        """The response to a rejected request; here in OpenAI's format."""
        return refused.response()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            """Answer the request, or return its error."""
            state = state_of(request)
            try:
                _check_rate(request, state)
                quota.check(request, state.quotas)
                response = await inner(request)
            except Refused as refused:
                if refused.code == "engine_gone":
                    state.targets.clear()
                response = self.refused(refused)
            except TuneryError as error:
                response = self.refused(of_tunery(error))
            except ClientGone:
                state.metrics.cancelled()
                response = Response(status_code=CLIENT_GONE)
            model = getattr(request.state, "served_name", "")
            state.metrics.answered(self.path, model, response.status_code)
            return response

        return handler


def state_of(request: Request) -> State:
    """The shared state of this server; created on the first request."""
    state = getattr(request.app.state, "openai", None)
    if state is None:
        state = request.app.state.openai = State()
    return state


async def read_body(request: Request, kind: type[R]) -> R:
    """Read a request's body as ``kind``.

    Raises:
        Refused: It is not JSON, or has an invalid value.
    """
    body = await request.body()
    if len(body) > 65_536:  # parsing a long body would block the event loop
        return await run_in_threadpool(read, kind, body)
    return read(kind, body)


async def find_target(request: Request, name: str) -> Target:
    """Find the target of a served name, loading the model if necessary.

    Raises:
        UnknownName: Nothing is served under the name.
        Refused: The server is shutting down.
    """
    quota.check_model(request, name)
    found = await run_in_threadpool(chat.find_served, name)
    request.state.served_name = found.name
    state = state_of(request)
    target, until = state.targets.get(found.model, (None, 0.0))
    # An engine that ended is loaded again now, not after a request has failed on it.
    if target is None or until < time.monotonic() or not target.engine.is_alive():
        target = await while_connected(request, chat.engine_pool().ready(found.model))
        state.targets[found.model] = target, time.monotonic() + TARGET_SECONDS
    return target


def _check_rate(request: Request, state: State) -> None:
    principal = getattr(request.state, "principal", None)
    seconds = state.rate.wait_seconds(principal.id if principal else "")
    if seconds:
        raise Refused(
            429,
            "Too many requests with this key. Wait a moment.",
            headers={"Retry-After": str(max(1, round(seconds + 0.5)))},
        )
