"""The places for requests that are being answered, and those that one key may have at once."""

from __future__ import annotations

from fastapi import Request

from tunery.server.openai import limits, quota
from tunery.server.openai.errors import Refused
from tunery.server.openai.route import State, state_of
from tunery.server.security.key_limits import Use


class Place:
    """One of the places; left once."""

    def __init__(self, state: State, use: Use | None) -> None:
        self.state = state
        self.use = use
        self._taken = True
        state.num_open += 1
        state.metrics.open.inc()

    def leave(self) -> None:
        """Let the next one in."""
        if self._taken:
            self._taken = False
            self.state.num_open -= 1
            if self.use is not None:
                self.use.num_open -= 1
            self.state.metrics.open.dec()

    def spend(self, num_tokens: int) -> None:
        """Count tokens of the key, where it has limits."""
        if self.use is not None:
            self.use.spend(num_tokens)


def take(request: Request) -> Place:
    """Take a place.

    Raises:
        Refused: 429: every place is taken, or every one of this key.
    """
    state = state_of(request)
    if state.num_open >= limits.MAX_OPEN:
        raise Refused(
            429, "All places are taken now. Try again soon.", headers={"Retry-After": "1"}
        )
    return Place(state, quota.enter(request, state.quotas))
