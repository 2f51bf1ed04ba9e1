"""The requests: every supported field, with its bounds. ``reading.py`` reports errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tunery.server.openai import limits
from tunery.types import is_list, is_object

IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "prediction",
    }
)  # fmt: skip
"""Fields that have no effect here."""

REFUSED = {
    "functions": "use tools",
    "function_call": "use tool_choice",
    "audio": "this API supports text only",
    "web_search_options": "web search is not available",
    "chat_template": "a request cannot set its own template",
    "suffix": "text can only be continued, not filled in",
    "verbosity": "no model here supports it",
    "guided_json": "use response_format",
    "structured_outputs": "use response_format",
}
"""Fields that would change the answer, and what to use instead."""

ACCEPTED = "must be text, token ids (whole numbers from 0), or a list of either; none may be empty"
"""How ``prompt`` and ``input`` are refused."""

Penalty = Annotated[float, Field(ge=-2, le=2)]
Stops = list[Annotated[str, Field(min_length=1, max_length=limits.MAX_STOP_LETTERS)]]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Strict(BaseModel):
    """A request, or an object in one: types are strict, and unknown fields are refused.

    Null is the same as a missing value. ``ignored`` fields are accepted with any value: clients
    send them, or send them back, and they have no effect here. ``refused`` says for some of the
    other fields what to use instead.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
    ignored: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_ignored(cls, values: Any) -> Any:
        if not is_object(values):
            return values
        return {k: v for k, v in values.items() if v is not None and k not in cls.ignored}


class Function(Strict):
    """A function that the model may call."""

    ignored: ClassVar[frozenset[str]] = frozenset({"strict"})

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Strict):
    """A tool; always a function."""

    ignored: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    type: Literal["function"]
    function: Function


class CalledFunction(Strict):
    """The function that was called, with its arguments as JSON text."""

    ignored: ClassVar[frozenset[str]] = frozenset({"parsed_arguments"})

    name: FunctionName
    arguments: str = "{}"


class Call(Strict):
    """A call that the assistant made earlier."""

    ignored: ClassVar[frozenset[str]] = frozenset({"index", "extra_content", "cache_control"})

    id: Annotated[str, Field(max_length=limits.MAX_NAME_LETTERS)]
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Strict):
    """One message; ``content`` is text, or a list of text parts."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"annotations", "parsed", "cache_control", "provider_specific_fields", "reasoning_details"}
    )
    refused: ClassVar[Mapping[str, str]] = {
        "audio": "this API speaks text only",
        "function_call": "use tool_calls",
    }

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    refusal: str | None = None
    name: Annotated[str, Field(max_length=limits.MAX_NAME_LETTERS)] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Annotated[list[Call], Field(max_length=limits.MAX_CALLS)] | None = None
    tool_call_id: Annotated[str, Field(max_length=limits.MAX_NAME_LETTERS)] | None = None

    @property
    def thinking(self) -> str:
        """The assistant's thinking, under either of its names."""
        return self.reasoning_content or self.reasoning or ""


class SchemaFormat(Strict):
    """The schema of a ``json_schema`` format."""

    ignored: ClassVar[frozenset[str]] = frozenset({"strict", "description"})

    name: str = ""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(Strict):
    """Text, any JSON object, or JSON that conforms to a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class StreamOptions(Strict):
    """What a stream sends besides the answer."""

    ignored: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})

    include_usage: bool = False


class NamedFunction(Strict):
    """The name in a tool_choice."""

    name: FunctionName


class NamedTool(Strict):
    """A tool_choice of a single function."""

    type: Literal["function"]
    function: NamedFunction


class AllowedToolsList(Strict):
    """Which of the tools may be called, and whether one must be."""

    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=limits.MAX_TOOLS)]


class AllowedTools(Strict):
    """A tool_choice of a subset of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedToolsList


class Body(Strict):
    """The body of a request of OpenAI's APIs."""

    ignored: ClassVar[frozenset[str]] = IGNORED
    refused: ClassVar[Mapping[str, str]] = REFUSED


class _Request(Body):
    """The fields shared by both kinds of completions."""

    model: Annotated[str, Field(min_length=1, max_length=limits.MAX_NAME_LETTERS)]
    n: Annotated[int, Field(ge=1, le=limits.MAX_ANSWERS)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)] | None = None
    stop: Annotated[Stops, Field(max_length=limits.MAX_STOPS)] = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    logit_bias: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=limits.MAX_BIASES)
    ] = {}

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("logit_bias", mode="after")
    @classmethod
    def _ids_are_numbers(cls, value: dict[str, float]) -> dict[str, float]:
        if any(not key.isascii() or not key.isdigit() or len(key) > 9 for key in value):
            raise ValueError("must have token ids as keys")
        return value

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> _Request:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options requires stream to be true")
        return self


class ChatRequest(_Request):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=limits.MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=limits.MAX_TOKENS)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=limits.MAX_TOP_LOGPROBS)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=limits.MAX_TOOLS)] = []
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=32)] = {}
    enable_thinking: bool | None = None
    continue_final_message: bool = False
    add_generation_prompt: bool | None = None
    modalities: list[str] = ["text"]

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatRequest:
        given = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(given) > 1:
            raise ValueError("max_tokens and max_completion_tokens differ; set only one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs requires logprobs to be true")
        if self.modalities != ["text"]:
            raise ValueError('modalities must be ["text"]; this API only generates text')
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise ValueError("tools contains two functions with the same name")
        if isinstance(self.tool_choice, NamedTool):
            if self.tool_choice.function.name not in names:
                raise ValueError("tool_choice names a function that is not in tools")
        elif isinstance(self.tool_choice, AllowedTools):
            allowed = self.tool_choice.allowed_tools.tools
            if foreign := [t.function.name for t in allowed if t.function.name not in names]:
                raise ValueError(f"tool_choice allows {foreign[0]}, which is not in tools")
        elif self.tool_choice in ("auto", "required") and not names:
            raise ValueError("tool_choice requires tools")
        return self


class CompletionRequest(_Request):
    """``POST /v1/completions``, the legacy API: text is continued."""

    prompt: list[str | list[int]]
    logprobs: Annotated[int, Field(ge=0, le=limits.MAX_TOP_LOGPROBS)] | None = None
    echo: bool = False
    best_of: Annotated[int, Field(ge=1)] | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompt_is_text(cls, value: Any) -> Any:
        prompts: Any = [value] if isinstance(value, str) or _are_ids(value) else value
        if not is_list(prompts) or not prompts:
            raise ValueError(ACCEPTED)
        if len(prompts) > limits.MAX_PROMPTS:
            raise ValueError(
                f"has {len(prompts)} prompts; at most {limits.MAX_PROMPTS} are accepted"
            )
        if not all(isinstance(prompt, str) or _are_ids(prompt) for prompt in prompts):
            raise ValueError(ACCEPTED)
        return prompts

    @model_validator(mode="after")
    def _supported(self) -> CompletionRequest:
        if self.echo and self.logprobs is not None:
            raise ValueError("echo and logprobs cannot be combined; leave out one of them")
        if self.best_of is not None and self.best_of != self.n:
            raise ValueError("best_of is not supported; leave it out, or make it equal to n")
        return self


def _are_ids(value: Any) -> bool:
    return (
        is_list(value) and bool(value) and all(type(token) is int and token >= 0 for token in value)
    )
