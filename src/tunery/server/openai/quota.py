"""Enforces the limits of an API key on every request to ``/v1``."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from fastapi import Request

from tunery.server.openai.errors import Refused
from tunery.server.security.key_limits import NO_LIMITS, KeyLimits, Use
from tunery.server.security.tokens import Principal

PLACES = 4096


@dataclass(slots=True)
class Quotas:
    """What each key with limits has used, kept while the server runs."""

    used: OrderedDict[str, Use] = field(default_factory=OrderedDict[str, Use])

    def of(self, key: str) -> Use:
        """The use of a key; the keys idle for longest are dropped first."""
        use = self.used.setdefault(key, Use())
        self.used.move_to_end(key)
        if len(self.used) > PLACES:
            idle = next((k for k, u in self.used.items() if not u.num_open and k != key), None)
            if idle is not None:
                del self.used[idle]
        return use


def limits_of(request: Request) -> KeyLimits:
    """The limits of the requesting client."""
    principal: Principal | None = getattr(request.state, "principal", None)
    return principal.limits if principal is not None else NO_LIMITS


def use_of(request: Request, quotas: Quotas) -> Use | None:
    """What the requesting key has used; None if it has no limits."""
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None or not principal.limits.bounds_chat:
        return None
    return quotas.of(principal.id)


def check(request: Request, quotas: Quotas) -> None:
    """Count a request, and reject it if the key's requests or tokens per minute are used up.

    Raises:
        Refused: 429, with the seconds to wait.
    """
    limits, use = limits_of(request), use_of(request, quotas)
    if use is None:
        return
    if limits.tokens_per_minute and (wait := use.token_wait(limits.tokens_per_minute)):
        raise _over(f"{limits.tokens_per_minute} tokens per minute", wait)
    if limits.requests_per_minute and (wait := use.request_wait(limits.requests_per_minute)):
        raise _over(f"{limits.requests_per_minute} requests per minute", wait)


def check_model(request: Request, name: str) -> None:
    """Reject a model that the key may not use.

    Raises:
        Refused: 403; the error names the models it may use.
    """
    allowed = limits_of(request).models
    if allowed and name not in allowed:
        raise Refused(
            403,
            f"This key may not use the model {name[:100]}. It may use: {', '.join(allowed)}.",
            param="model",
            code="model_not_allowed",
        )


def enter(request: Request, quotas: Quotas) -> Use | None:
    """Take one of the key's parallel slots.

    Raises:
        Refused: 429: all of them are taken.
    """
    limits, use = limits_of(request), use_of(request, quotas)
    if use is None:
        return None
    if limits.parallel and use.num_open >= limits.parallel:
        raise Refused(
            429,
            f"This key allows at most {limits.parallel} at once, and all are in use. "
            "Wait for one to finish.",
            code="too_many_at_once",
            headers={"Retry-After": "1"},
        )
    use.num_open += 1
    return use


def _over(what: str, seconds: float) -> Refused:
    wait = str(max(1, round(seconds + 0.5)))
    return Refused(
        429,
        f"This key may use {what}. Try again in {wait} seconds.",
        headers={"Retry-After": wait},
    )
