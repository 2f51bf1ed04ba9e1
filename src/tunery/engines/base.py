"""The Engine protocol: one loaded base model that answers, wherever it runs.

Callers (the OpenAI-compatible API, the page's chat, evaluation) know only this module. An engine
takes a ``GenerateRequest`` and yields events until it has ended; closing the iterator cancels the
request and frees its slot. A new kind of engine implements ``Engine`` and passes
``tests/engines/conformance.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

EndReason = Literal["stop", "length", "interrupted"]


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn. Temperature 0 is greedy.

    Args:
        temperature: Divides the logits; at least 0.
        top_p: Keeps the smallest set of tokens with this probability; in (0, 1].
        top_k: Keeps this many tokens; 0 keeps all.
        frequency_penalty: Taken off a logit for each time its token is in the answer so far.
        presence_penalty: Taken off a logit once its token is in the answer so far.
        repetition_penalty: Divides positive and multiplies negative logits of tokens seen in the
            prompt or the answer (the CTRL paper, 1909.05858); 1 leaves them.
        logit_bias: Added to the logits, by token id.
        seed: Of the draw; the same request with the same seed gets the same answer.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One request for ``num_answers`` answers to one prompt.

    Args:
        messages: The conversation (role, content, tool_calls ...), rendered by the engine with the
            model's chat template; None where ``prompt`` is given.
        prompt: Raw text, continued as it stands; special tokens in it are plain text.
        tools: Function tools in OpenAI's shape, for the template.
        adapter: Folder of a PEFT adapter to wear; None answers as the bare base.
        max_tokens: Most tokens of an answer; None is all the context leaves.
        stop: Texts that end an answer and are left out of it.
        sampling: How tokens are drawn.
        num_answers: How many answers; answer i of a seeded request draws with seed + i.
        top_logprobs: How many alternatives to report for each token; None reports no logprobs.
        json_schema: A JSON schema that the answer must follow.
        template: Name of a chat template in place of the model's own.
        template_values: More for the chat template, such as ``{"enable_thinking": False}``.
        continue_last: The last message is the beginning of the answer.
    """

    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    adapter: str | None = None
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    sampling: SamplingOptions = SamplingOptions()
    num_answers: int = 1
    top_logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None
    template: str | None = None
    template_values: Mapping[str, Any] = field(default_factory=dict)
    continue_last: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt was read.

    Args:
        num_prompt_tokens: Tokens of the prompt.
        prompt_text: Exactly what the model reads, control tokens spelled out.
    """

    num_prompt_tokens: int
    prompt_text: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its natural log-probability before sampling options, and its rivals'."""

    token: str
    token_id: int
    logprob: float
    top: Sequence[tuple[str, int, float]] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """More of one answer: whole characters, never a stop text or a stop token."""

    index: int
    text: str
    token_ids: Sequence[int] = ()
    logprobs: Sequence[TokenLogprob] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """One answer is complete.

    Args:
        index: Which answer.
        reason: ``stop`` (token, text or schema complete), ``length`` or ``interrupted``.
        num_tokens: Tokens drawn for it, the stop token included.
        first_token_seconds: From the request's arrival to its first token.
        seconds: From the request's arrival to its end.
    """

    index: int
    reason: EndReason
    num_tokens: int
    first_token_seconds: float
    seconds: float


EngineEvent = Started | Delta | Ended


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What an engine says of itself when asked.

    Args:
        base: The base model's folder.
        state: ``loading``, ``ready`` or ``failed``.
        text: For ``failed`` the reason in a sentence, for ``loading`` what is going on.
        device: ``cpu``, ``cuda:0`` ...
        dtype: ``fp32`` or ``bf16``.
        context_length: Most tokens of prompt and answer together.
        memory_bytes: Resident memory of its process.
        adapters: Folders attached so far.
        num_running: Answers being generated now.
        num_waiting: Requests queued.
        num_tokens: Tokens generated since its start.
    """

    base: str
    state: Literal["loading", "ready", "failed"]
    text: str = ""
    device: str = ""
    dtype: str = ""
    context_length: int = 0
    memory_bytes: int = 0
    adapters: Sequence[str] = ()
    num_running: int = 0
    num_waiting: int = 0
    num_tokens: int = 0


class Engine(Protocol):
    """One loaded base model; adapters are switched per request."""

    def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Answer: one ``Started``, then ``Delta`` s, then one ``Ended`` for each answer.

        Closing the iterator cancels. Before the first event this may raise.

        Raises:
            EngineError: ``code`` is ``too_long`` (the prompt leaves no room), ``full`` (the queue
                is full), ``bad_adapter``, ``bad_schema``, ``bad_template`` or ``gone``.
        """
        ...

    async def count_tokens(self, request: GenerateRequest) -> int:
        """Tokens of the rendered prompt."""
        ...

    async def status(self) -> EngineStatus:
        """What the engine says of itself."""
        ...

    async def close(self) -> None:
        """End the engine's process and free its memory."""
        ...
