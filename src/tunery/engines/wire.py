"""Converts requests, events and errors to and from JSON, for an engine in another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tunery.engines.base import (
    Delta,
    Ended,
    EngineEvent,
    EngineStatus,
    GenerateRequest,
    SamplingOptions,
    Started,
    TokenLogprob,
)
from tunery.errors import EngineError, ModelError, TuneryError


def request_to_dict(request: GenerateRequest) -> dict[str, Any]:
    """Convert a request to JSON data, without fields at their defaults."""
    plain = asdict(request)
    bias = request.sampling.logit_bias
    plain["sampling"]["logit_bias"] = {str(token): value for token, value in bias.items()}
    empty = _EMPTY_REQUEST
    return {key: value for key, value in plain.items() if value != empty[key]}


def request_from_dict(plain: Mapping[str, Any]) -> GenerateRequest:
    """Parse the output of ``request_to_dict``."""
    fields = dict(plain)
    sampling = dict(fields.pop("sampling", {}))
    bias = sampling.pop("logit_bias", {})
    numbered = {int(token): float(value) for token, value in bias.items()}
    return GenerateRequest(sampling=SamplingOptions(**sampling, logit_bias=numbered), **fields)


def event_to_dict(event: EngineEvent) -> dict[str, Any]:
    """Convert an event to JSON data."""
    match event:
        case Delta(index, text, ids, logprobs):
            plain: dict[str, Any] = {"kind": "delta", "index": index, "text": text, "ids": ids}
            if logprobs:
                plain["logprobs"] = [_logprob_to_list(entry) for entry in logprobs]
            return plain
        case Started():
            return {"kind": "started", **asdict(event)}
        case Ended():
            said = [_logprob_to_list(entry) for entry in event.logprobs]
            return {"kind": "ended", **asdict(event), "logprobs": said}


def event_from_dict(plain: Mapping[str, Any]) -> EngineEvent:
    """Parse the output of ``event_to_dict``.

    Raises:
        TuneryError: The line is an error that ended the stream.
    """
    fields = dict(plain)
    return _EVENTS[fields.pop("kind")](fields)


def error_to_dict(error: TuneryError) -> dict[str, Any]:
    """Convert an error to JSON data: the last line of a stream, or the body of a rejection."""
    return {
        "kind": "error",
        "type": type(error).__name__,
        "message": error.message,
        "fix": error.fix,
        "code": error.code,
    }


def error_from_dict(plain: Mapping[str, Any]) -> TuneryError:
    """Parse the output of ``error_to_dict``."""
    kind = ModelError if plain.get("type") == "ModelError" else EngineError
    return kind(
        str(plain.get("message", "")),
        fix=str(plain.get("fix", "")),
        code=str(plain.get("code", "")),
    )


def status_from_dict(plain: Mapping[str, Any]) -> EngineStatus:
    """Parse a status that ``dataclasses.asdict`` converted."""
    return EngineStatus(**plain)


def _delta(fields: dict[str, Any]) -> EngineEvent:
    logprobs = _logprobs(fields.get("logprobs", ()))
    return Delta(fields["index"], fields["text"], tuple(fields["ids"]), logprobs)


def _ended(fields: dict[str, Any]) -> EngineEvent:
    ids, logprobs = tuple(fields.pop("token_ids")), _logprobs(fields.pop("logprobs"))
    return Ended(**fields, token_ids=ids, logprobs=logprobs)


def _logprob_to_list(entry: TokenLogprob) -> list[Any]:
    spelled = {str(token): data.hex() for token, data in entry.spelled.items()}
    plain = [entry.token, entry.token_id, entry.logprob, entry.top, entry.sampling_logprob]
    return [*plain, spelled] if spelled else plain


def _logprobs(lists: Sequence[Any]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            token,
            number,
            value,
            tuple((t, i, p) for t, i, p in top),
            drawn,
            {int(i): bytes.fromhex(data) for i, data in rest[0].items()} if rest else {},
        )
        for token, number, value, top, drawn, *rest in lists
    )


def _error(fields: dict[str, Any]) -> EngineEvent:
    raise error_from_dict(fields)


_EMPTY_REQUEST = asdict(GenerateRequest()) | {"sampling": None}
_EVENTS: dict[str, Callable[[dict[str, Any]], EngineEvent]] = {
    "delta": _delta,
    "started": lambda fields: Started(**fields),
    "ended": _ended,
    "error": _error,
}
