"""The Engine protocol: one loaded base model that generates answers, wherever it runs.

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
"""Stop token, stop string or complete schema; token limit reached; ended from outside."""
Capability = Literal["adapters", "logprobs", "score", "json_schema", "logit_bias", "embed"]
"""What an engine may lack; callers check before they send. For ``embed`` see ``engines.embed``."""
EVERYTHING: frozenset[Capability] = frozenset(get_args(Capability))


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """Sampling options. Temperature 0 is greedy.

    Args:
        temperature: Divides the logits; at least 0.
        top_p: Keeps the smallest set of tokens with at least this probability; in (0, 1].
        top_k: Keeps this many tokens; 0 keeps all.
        min_p: Keeps tokens whose probability is at least this fraction of the highest one; in
            [0, 1]. Applied after the temperature and before top_k and top_p, as in vLLM.
        frequency_penalty: Subtracted from a logit per occurrence of its token in the answer so far.
        presence_penalty: Subtracted from a logit if its token occurs in the answer so far.
        repetition_penalty: Divides positive and multiplies negative logits of tokens that occur in
            the prompt or the answer (CTRL, arXiv 1909.05858); 1 disables it.
        logit_bias: Added to the logits, by token id.
        seed: Random seed; the same request with the same seed gets the same answer. None uses a
            random seed each time.

    Raises:
        EngineError: A value is out of bounds.
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
        """Whether the most likely token is always chosen."""
        return self.temperature == 0 or self.top_k == 1


GREEDY = SamplingOptions()


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One request for ``num_answers`` answers to one prompt.

    Args:
        messages: The conversation (role, content, tool_calls ...), rendered by the engine with the
            model's chat template; None if another kind of prompt is given.
        prompt: Raw text to continue unchanged; special tokens in it are plain text.
        prompt_ids: The prompt as token ids, rendered by the caller.
        stop_ids: Tokens that end an answer; None uses those of the model's chat template.
        tools: Function tools in OpenAI's format, for the template.
        adapter: Folder of a PEFT adapter to activate; None uses the base model.
        max_tokens: Maximum tokens per answer; None uses the rest of the context.
        stop: Strings that end an answer and are not included in it.
        sampling: Sampling options.
        num_answers: How many answers; answer i of a request with a seed uses seed + i.
        top_logprobs: Number of alternatives to report per token; 0 reports only the token's own
            log-probabilities, None reports no logprobs.
        json_schema: A JSON schema that the answer must follow.
        schema_unless: Texts with which the answer may start instead of the schema's JSON, such as
            the marker of a tool call; anything may follow them.
        template: Name of a chat template to use instead of the model's own.
        template_values: Additional values for the chat template, such as
            ``{"enable_thinking": False}``.
        continue_last: Whether the last message is the beginning of the answer.
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
    """The prompt has been read.

    Args:
        num_prompt_tokens: Number of tokens of the prompt.
        prompt_text: The exact text the model reads, including control tokens.
    """

    num_prompt_tokens: int
    prompt_text: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A sampled token with its log-probabilities, in nats.

    Args:
        token: The token's text.
        token_id: The token's id.
        logprob: According to the model alone, before sampling options.
        top: The most likely tokens according to the model alone: text, id, log-probability.
        sampling_logprob: In the distribution from which the token was sampled, after penalties,
            bias, schema, temperature, top-k and top-p. 0 for a greedy choice.
        spelled: Bytes of the tokens above, by id, if they differ from the text: part of a
            character, or a space that the text leaves out.
    """

    token: str
    token_id: int
    logprob: float
    top: Sequence[tuple[str, int, float]] = ()
    sampling_logprob: float = 0.0
    spelled: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delta:
    """The next part of one answer: whole characters, never a stop string or a stop token.

    Args:
        index: Which answer.
        text: The new text.
        token_ids: The tokens of the new text.
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
        reason: ``stop`` (token, string or schema complete), ``length`` or ``interrupted``.
        num_tokens: Number of tokens generated, including the stop token.
        first_token_seconds: Time from the request's arrival to its first token.
        seconds: Time from the request's arrival to its end.
        token_ids: Generated tokens that are in no ``Delta``: the stop token, or those of a stop
            string.
        logprobs: One per token of these, if requested.
        stop: The stop string that ended it; empty if something else did.
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
        text: For ``failed`` the reason in a sentence, for ``loading`` the current activity.
        device: ``cpu``, ``cuda:0`` ...
        dtype: ``fp32`` or ``bf16``.
        context_length: Maximum tokens of prompt and answer together.
        memory_bytes: Resident memory of its process.
        adapters: Folders of the adapters attached so far.
        num_running: Number of answers currently being generated.
        num_waiting: Number of queued requests.
        num_tokens: Number of tokens generated since the engine started.
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
        """The capabilities beyond generating answers."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[EngineEvent]:
        """Generate answers: one ``Started``, then ``Delta`` events, then one ``Ended`` per answer.

        Closing the iterator cancels the request. Errors may be raised before the first event.

        Raises:
            EngineError: ``code`` is ``too_long`` (no room is left for an answer), ``queue_full``,
                ``bad_adapter``, ``bad_schema``, ``bad_template`` or ``gone``.
        """
        ...

    async def count_tokens(self, request: GenerateRequest) -> int:
        """The number of tokens of the rendered prompt."""
        ...

    async def score(self, ids: Sequence[int], *, adapter: str | None = None) -> list[float]:
        """Compute the log-probabilities of given tokens.

        Args:
            ids: Token ids, at least one and at most the context length.
            adapter: As in a request.

        Returns:
            Log-probability, in nats, of each token except the first, given all tokens before it.

        Raises:
            EngineError: As ``generate``.
        """
        ...

    def is_alive(self) -> bool:
        """Whether its process is running; a quick look that does not ask the engine itself."""
        ...

    async def status(self) -> EngineStatus:
        """The status of the engine."""
        ...

    async def close(self) -> None:
        """Stop the engine's process and free its memory."""
        ...
