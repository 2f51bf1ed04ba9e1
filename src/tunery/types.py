"""The types of rows and messages that data, chat, training and inference share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

Role = Literal["system", "user", "assistant", "tool"]


MOST_WEIGHT = 1_000_000
"""Largest weight of a row or a dataset in the loss; a larger one is a mistake."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool by the assistant; ``arguments`` is parsed JSON, never text."""

    name: str
    arguments: dict[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Args:
        role: The role of the speaker.
        content: The text, without thinking and without tool calls.
        thinking: Reasoning text that precedes ``content``; None if there is none.
        tool_calls: Tool calls made by the assistant.
        tool_call_id: For a tool result, the id of the call it answers.
        name: Optional name of the speaker or of the tool.
        train: False excludes this message from the loss, True includes it; None follows
            ``data.loss_on``.
    """

    role: Role
    content: str
    thinking: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    train: bool | None = None


@dataclass(frozen=True, slots=True)
class RowRef:
    """The source of a row, precise enough to find it again.

    Args:
        dataset: The dataset's name as given by the user.
        file: Path of the file, as text.
        record: 1-based number of the record in the file.
        line: 1-based physical line; None if the format has no lines.
    """

    dataset: str
    file: str
    record: int
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages to be rendered by a chat template.

    Args:
        messages: In order.
        tools: Their definitions, as JSON.
        ref: The source of the row.
        weight: Factor on the loss of the row; None if the row does not say.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    ref: RowRef | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text for continued pretraining; every token carries loss."""

    text: str
    ref: RowRef | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference pair: a better and a worse answer to the same prompt.

    Args:
        prompt: The common prefix of both sides; its messages carry no loss.
        chosen: The messages of the better answer.
        rejected: The messages of the worse answer.
        margin: How much better the chosen answer is; None if the data does not say.
        ref: The source of the row.
    """

    prompt: Conversation
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    margin: float | None = None
    ref: RowRef | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer with a label that says whether it is desirable.

    Args:
        conversation: Prompt and answer; the label applies to the answer.
        label: True for a desirable answer.
        ref: The source of the row.
    """

    conversation: Conversation
    label: bool
    ref: RowRef | None = None


Example = Conversation | Text | Pair | Labelled


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row as the model sees it.

    Args:
        text: The rendered text.
        input_ids: Token ids, length T.
        loss_mask: True where the token is trained, length T.
        cut: Number of tokens that did not fit into ``max_length``.
        parts: Number of training rows made from this example (more than one if a template
            rewrites history, so that each assistant turn is trained separately).
        notes: Remarks that are counted, such as ``thinking stripped from history``.
    """

    text: str
    input_ids: list[int]
    loss_mask: list[bool]
    cut: int = 0
    parts: int = 1
    notes: tuple[str, ...] = field(default=())


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether plain data is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether plain data is a JSON list."""
    return isinstance(value, list)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is a mapping."""
    return isinstance(value, Mapping)
