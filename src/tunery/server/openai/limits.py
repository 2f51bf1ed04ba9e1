"""Upper limits of a request. The length of a prompt is limited before it is tokenized."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_ANSWERS = 16
MAX_PROMPTS = 16
MAX_MESSAGES = 2048
MAX_PARTS = 256
MAX_TOOLS = 128
MAX_CALLS = 128
MAX_STOPS = 16
MAX_STOP_LETTERS = 256
MAX_TOP_LOGPROBS = 20
MAX_BIASES = 1024
MAX_SCHEMA_LETTERS = 65_536
MAX_NAME_LETTERS = 512
MAX_DEPTH = 64
MAX_FIELDS = 256
MAX_TOKENS = 10_000_000
# No text has that many letters per token: a longer one cannot fit and need not be tokenized.
LETTERS_A_TOKEN = 24
SEEDS = 2**48

ANSWER_SECONDS = 1800.0
BEAT_SECONDS = 15.0
SEND_SECONDS = 30.0
MAX_OPEN = 512

REQUESTS_A_MINUTE = 1200
BURST = 1000


class Rate:
    """Rate limit per key: a bucket of ``burst`` requests that refills.

    Args:
        a_minute: How many requests per minute it refills; 0 is no limit.
        burst: How many requests may arrive at once.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        a_minute: float = REQUESTS_A_MINUTE,
        burst: float = BURST,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._a_second = a_minute / 60
        self._burst = burst
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, key: str) -> float:
        """Take one request of ``key``: 0 if it may proceed, else how long to wait."""
        if not self._a_second:
            return 0.0
        with self._lock:
            now = self._clock()
            left, then = self._left.get(key, (self._burst, now))
            left = min(self._burst, left + (now - then) * self._a_second)
            if left < 1:
                self._left[key] = (left, now)
                return (1 - left) / self._a_second
            self._left[key] = (left - 1, now)
            if len(self._left) > 4096:  # idle keys have a full bucket again
                self._left = {k: v for k, v in self._left.items() if now - v[1] < 60}
            return 0.0
