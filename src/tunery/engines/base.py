"""The Engine protocol: one loaded base model that answers, wherever it runs.

Callers (the OpenAI-compatible API, the page's chat, evaluation) know only this module. An engine
takes a ``GenerateRequest`` and yields events until it has ended; closing the iterator cancels the
request and frees its slot. A new kind of engine implements ``Engine`` and passes
``tests/engines/conformance.py``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from tunery.errors import EngineError
from tunery.i18n import t

EndReason = Literal["stop", "length", "interrupted"]
"""By a stop token, a stop text or a complete schema; cut by a limit; ended from outside."""
Capability = Literal["adapters", "logprobs", "score", "json_schema", "logit_bias", "embed"]
"""What an engine may lack; callers ask before they send. For ``embed`` see ``engines.embed``."""
EVERYTHING: frozenset[Capability] = frozenset(get_args(Capability))


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn. Temperature 0 is greedy.

    Args:
        temperature: Divides the logits; at least 0.
        top_p: Keeps the smallest set of tokens with this probability; in (0, 1].
        top_k: Keeps this many tokens; 0 keeps all.
        min_p: Keeps tokens at least this share as likely as the likeliest; in [0, 1]. Applied after
            the temperature and before top_k and top_p, as vLLM does.
        frequency_penalty: Taken off a logit for each time its token is in the answer so far.
        presence_penalty: Taken off a logit once its token is in the answer so far.
        repetition_penalty: Divides positive and multiplies negative logits of tokens seen in the
            prompt or the answer (the CTRL paper, 1909.05858); 1 leaves them.
        logit_bias: Added to the logits, by token id.
        seed: Of the draw; the same request with the same seed gets the same answer. None draws
            another answer each time.

    Raises:
        EngineError: A value is out of its bounds.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (0 <= self.temperature <= 100, t("from 0 to 100")),
            "top_p": (0 < self.top_p <= 1, t("above 0 and at most 1")),
            "top_k": (self.top_k >= 0, t("0 or more")),
            "min_p": (0 <= self.min_p <= 1, t("from 0 to 1")),
            "repetition_penalty": (0 < self.repetition_penalty <= 100, t("above 0, at most 100")),
        }
        for name, (fits, wanted) in bounds.items():
            found = getattr(self, name)
            if not fits or math.isnan(found):
                raise EngineError(
                    t("{name} must be {wanted}, got {found}.", name=name, wanted=wanted,
                      found=found),
                    fix=t("Remove it to use the default."),
                )  # fmt: skip

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0 or self.top_k == 1


GREEDY = SamplingOptions()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One request for ``num_answers`` answers to one prompt.

    Args:
        messages: The conversation (role, content, tool_calls ...), rendered by the engine with the
            model's chat template; None where another prompt is given.
        prompt: Raw text to continue unchanged; special tokens in it are plain text.
        prompt_ids: The prompt as token ids, rendered by the caller.
        stop_ids: Tokens that end an answer; None takes those of the model's chat template.
        tools: Function tools in OpenAI's shape, for the template.
        adapter: Folder of a PEFT adapter to activate; None uses the plain base.
        max_tokens: Most tokens of an answer; None is all the context leaves.
        stop: Texts that end an answer and are left out of it.
        sampling: How tokens are drawn.
        num_answers: How many answers; answer i of a seeded request draws with seed + i.
        top_logprobs: How many alternatives to report for each token, 0 the token's own
            log-probabilities alone; None reports no logprobs.
        json_schema: A JSON schema that the answer must follow.
        schema_unless: Texts with which the answer may begin in place of the schema's JSON, such as
            the mark of a tool call; what follows them is free.
        template: Name of a chat template in place of the model's own.
        template_values: More for the chat template, such as ``{"enable_thinking": False}``.
        continue_last: The last message is the beginning of the answer.
    """

    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | None = None
    prompt_ids: Sequence[int] | None = None
    stop_ids: Sequence[int] | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    adapter: str | None = None
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    sampling: SamplingOptions = SamplingOptions()
    num_answers: int = 1
    top_logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None
    schema_unless: Sequence[str] = ()
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
    """A token that was drawn, and how likely it was, in nats.

    Args:
        token: Its spelling.
        token_id: Its id.
        logprob: By the model alone, before sampling options.
        top: The most likely tokens by the model alone: spelling, id, log-probability.
        sampling_logprob: In the distribution it was drawn from, after penalties, bias, schema,
            temperature, top-k and top-p. 0 for a greedy choice.
        spelled: Bytes of the tokens above, by id, where their spelling is not these: part of a
            character, or a space that the spelling leaves out.
    """

    token: str
    token_id: int
    logprob: float
    top: Sequence[tuple[str, int, float]] = ()
    sampling_logprob: float = 0.0
    spelled: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delta:
    """More of one answer: whole characters, never a stop text or a stop token.

    Args:
        index: Which answer.
        text: The new text.
        token_ids: The tokens that it is made of.
        logprobs: One per token, if requested.
    """

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
        token_ids: Tokens drawn that are in no ``Delta``: the stop token, or those of a stop text.
        logprobs: One per token of these, if requested.
        stop: The stop text that ended it; empty where something else did.
    """

    index: int
    reason: EndReason
    num_tokens: int
    first_token_seconds: float
    seconds: float
    token_ids: Sequence[int] = ()
    logprobs: Sequence[TokenLogprob] = ()
    stop: str = ""


EngineEvent = Started | Delta | Ended


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The status that an engine reports.

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

    @property
    def can(self) -> frozenset[Capability]:
        """What it does beyond answering."""
        ...

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

    async def score(self, ids: Sequence[int], *, adapter: str | None = None) -> list[float]:
        """How likely the model finds given tokens.

        Args:
            ids: Token ids, at least one and no more than the context holds.
            adapter: As in a request.

        Returns:
            Log-probability in nats of each token but the first, given all before it.

        Raises:
            EngineError: As ``generate``.
        """
        ...

    async def status(self) -> EngineStatus:
        """The status of the engine."""
        ...

    async def close(self) -> None:
        """End the engine's process and free its memory."""
        ...
