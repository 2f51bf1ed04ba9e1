"""Limits of an API key besides its scope: models, time, requests, tokens, parallel answers."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tunery.errors import ConfigError
from tunery.i18n import t

MOST_MODELS = 100
MOST = 1_000_000_000
WINDOW_SECONDS = 60
clock = time.monotonic


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The limits of one key; none by default.

    Args:
        models: Served names it may use; empty for all.
        expires: When it stops being valid, in seconds since the epoch; None for never.
        requests_per_minute: Maximum number of requests to ``/v1`` in 60 seconds; 0 is no limit.
        tokens_per_minute: A request is accepted only while fewer tokens, of prompts and answers,
            were used in 60 seconds; 0 is no limit.
        parallel: Maximum number of answers at once; 0 is no limit.

    Raises:
        ConfigError: A number is out of bounds, or it has already expired.
    """

    models: tuple[str, ...] = ()
    expires: float | None = None
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    parallel: int = 0

    @property
    def bounds_chat(self) -> bool:
        """Whether it has limits that only ``/v1`` enforces."""
        return bool(
            self.models or self.requests_per_minute or self.tokens_per_minute or self.parallel
        )

    def check(self, scopes: Sequence[str]) -> None:
        """Reject limits that cannot be enforced for a new key.

        Raises:
            ConfigError: A value is out of bounds, or the scopes go beyond these limits.
        """
        numbers = (self.requests_per_minute, self.tokens_per_minute, self.parallel)
        if not all(0 <= number <= MOST for number in numbers):
            raise ConfigError(
                t("A key limit is a number from 0 to {most}; 0 means no limit.", most=MOST),
                code="bad_limit",
            )
        if len(self.models) > MOST_MODELS or not all(1 <= len(n) <= 200 for n in self.models):
            raise ConfigError(
                t(
                    "A key can list at most {most} models, each by its served name.",
                    most=MOST_MODELS,
                ),
                code="bad_limit",
            )
        if self.expires is not None and not time.time() < self.expires < 1e11:
            raise ConfigError(t("A key must expire in the future."), code="bad_limit")
        if self.bounds_chat and set(scopes) != {"chat"}:
            raise ConfigError(
                t(
                    "Limits on models, requests, tokens and parallel answers apply only to "
                    "keys for chat."
                ),
                fix=t("Use only the chat scope, or set only an expiry date."),
                code="bad_limit",
            )

    def as_json(self) -> str:
        """The limits as JSON, for state.db."""
        return json.dumps(asdict(self), ensure_ascii=False)


NO_LIMITS = KeyLimits()


def from_json(text: str) -> KeyLimits:
    """The limits from the output of ``as_json``."""
    known = {each.name for each in fields(KeyLimits)}
    values: dict[str, Any] = {n: value for n, value in json.loads(text).items() if n in known}
    values["models"] = tuple(values.get("models", ()))
    return KeyLimits(**values)


def describe_limits(limits: KeyLimits) -> list[str]:
    """The limits of a key in words; empty if there are none."""
    told = [", ".join(limits.models)] if limits.models else []
    if limits.requests_per_minute:
        told.append(t("{n} requests per minute", n=f"{limits.requests_per_minute:,}"))
    if limits.tokens_per_minute:
        told.append(t("{n} tokens per minute", n=f"{limits.tokens_per_minute:,}"))
    if limits.parallel:
        told.append(t("{n} parallel answers", n=f"{limits.parallel:,}"))
    if limits.expires is not None:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(limits.expires))
        told.append(t("until {moment}", moment=until))
    return told


@dataclass(slots=True)
class Use:
    """What one key has used in the last minute.

    Args:
        requests: When each request arrived.
        tokens: Number of tokens per second.
        num_open: Answers in progress.
    """

    requests: list[float] = field(default_factory=list[float])
    tokens: dict[int, int] = field(default_factory=dict[int, int])
    num_open: int = 0

    def request_wait(self, most: int) -> float:
        """Count a request: 0 if it may proceed, else how many seconds to wait."""
        now = clock()
        self.requests = [when for when in self.requests if now - when < WINDOW_SECONDS]
        if len(self.requests) >= most:
            return self.requests[-most] + WINDOW_SECONDS - now
        self.requests.append(now)
        return 0.0

    def token_wait(self, most: int) -> float:
        """How many seconds until fewer than ``most`` tokens were used in the last minute."""
        now = clock()
        self.tokens = {s: n for s, n in self.tokens.items() if now - s < WINDOW_SECONDS}
        left = sum(self.tokens.values())
        for second, number in sorted(self.tokens.items()):
            if left < most:
                break
            left -= number
            wait = second + WINDOW_SECONDS - now
            if left < most:
                return max(wait, 0.1)
        return 0.0

    def spend(self, number: int) -> None:
        """Count tokens that were read or written."""
        second = int(clock())
        self.tokens[second] = self.tokens.get(second, 0) + number
