"""Prometheus metrics: requests, tokens and times per served name, in a separate registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FIRST = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_WHOLE = (0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server. Labels are served names and statuses, never client input."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        more: dict[str, Any] = {"registry": self.registry, "namespace": "tunery"}
        self._requests = Counter(
            "requests", "Requests to /v1 by outcome", ["route", "model", "status"], **more
        )
        self._tokens = Counter("tokens", "Tokens read and written", ["model", "kind"], **more)
        self._first = Histogram(
            "first_token_seconds", "Time to the first token", ["model"], buckets=_FIRST, **more
        )
        self._whole = Histogram(
            "answer_seconds", "Time to the end of the answer", ["model"], buckets=_WHOLE, **more
        )
        self.open = Gauge("open_requests", "Requests being answered", **more)
        self._cancelled = Counter("cancelled", "Requests whose client disconnected", **more)
        self._engines = {
            name: Gauge(f"engine_{name}", text, ["engine"], **more)
            for name, text in (
                ("memory_bytes", "Resident memory of the engine's process"),
                ("running", "Answers being generated"),
                ("waiting", "Requests in the engine's queue"),
                ("generated_tokens", "Tokens generated since the engine's start"),
            )
        }

    def answered(self, route: str, model: str, status: int) -> None:
        """Count one request; ``model`` is a served name, or empty."""
        self._requests.labels(route, model, str(status)).inc()

    def cancelled(self) -> None:
        """Count a client that disconnected before its answer was complete."""
        self._cancelled.inc()

    def read(self, model: str, num_tokens: int) -> None:
        """Count the tokens of a prompt."""
        self._tokens.labels(model, "prompt").inc(num_tokens)

    def wrote(self, model: str, num_tokens: int, first_seconds: float, seconds: float) -> None:
        """Count one answer."""
        self._tokens.labels(model, "completion").inc(num_tokens)
        if first_seconds:
            self._first.labels(model).observe(first_seconds)
        self._whole.labels(model).observe(seconds)

    def text(self, engines: Sequence[Mapping[str, Any]] = ()) -> bytes:
        """All metrics in Prometheus format; engines are numbered, their paths are not revealed."""
        for gauge in self._engines.values():
            gauge.clear()
        for number, status in enumerate(engines):
            figures = {
                "memory_bytes": status.get("memory_bytes", 0),
                "running": status.get("num_running", 0),
                "waiting": status.get("num_waiting", 0),
                "generated_tokens": status.get("num_tokens", 0),
            }
            for name, value in figures.items():
                self._engines[name].labels(str(number)).set(value)
        return generate_latest(self.registry)
