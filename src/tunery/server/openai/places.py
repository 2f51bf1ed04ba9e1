"""Slots for requests that are being answered, in total and per key."""

from __future__ import annotations

from fastapi import Request

from tunery.server.openai import limits, quota
from tunery.server.openai.errors import Refused
from tunery.server.openai.route import State, state_of
from tunery.server.security.key_limits import Use


class Place:
    """One slot; released once."""

    def __init__(self, state: State, use: Use | None) -> None:
        self.state = state
        self.use = use
        self._taken = True
        state.num_open += 1
        state.metrics.open.inc()

    def leave(self) -> None:
        """Release the slot."""
        if self._taken:
            self._taken = False
            self.state.num_open -= 1
            if self.use is not None:
                self.use.num_open -= 1
            self.state.metrics.open.dec()

    def spend(self, num_tokens: int) -> None:
        """Count tokens for the key, if it has limits."""
        if self.use is not None:
            self.use.spend(num_tokens)


def take(request: Request) -> Place:
    """Take a slot.

    Raises:
        Refused: 429: all slots are taken, or all of this key's.
    """
    state = state_of(request)
    if state.num_open >= limits.MAX_OPEN:
        raise Refused(
            429, "The server is at capacity. Try again soon.", headers={"Retry-After": "1"}
        )
    return Place(state, quota.enter(request, state.quotas))
