"""What a row of data becomes: the few types that data, chat, training and inference share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

Role = Literal["system", "user", "assistant", "tool"]


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
        role: Who speaks.
        content: The text, without thinking and without tool calls.
        thinking: Reasoning text that belongs before ``content``; None where there is none.
        tool_calls: Calls the assistant makes.
        tool_call_id: For a tool's answer, the call it answers.
        name: Optional name of the speaker or of the tool.
        train: False keeps this message out of the loss, True asks for it; None follows
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
    """Where a row came from, exactly enough to find it again.

    Args:
        dataset: The dataset's name as the user gave it.
        file: Path of the file, as text.
        record: 1-based number of the record in the file.
        line: 1-based physical line, where the format has lines.
    """

    dataset: str
    file: str
    record: int
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages to be rendered by a chat template."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    ref: RowRef | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text for continued pretraining; every token carries loss."""

    text: str
    ref: RowRef | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, the better one known.

    Args:
        prompt: What both sides begin with; its messages carry no loss.
        chosen: The messages of the better answer.
        rejected: The messages of the worse one.
        margin: How much better, where the data says so.
        ref: Where the row came from.
    """

    prompt: Conversation
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    margin: float | None = None
    ref: RowRef | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer, and whether it is a good one.

    Args:
        conversation: Prompt and answer; the answer is what is judged.
        label: True for a wanted answer.
        ref: Where the row came from.
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
        cut: Tokens that did not fit ``max_length``.
        parts: How many training rows this example became (more than one where a template
            rewrites history and each assistant turn is trained on its own).
        notes: Counted remarks, such as ``thinking stripped from history``.
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
    """Whether a value has names and values."""
    return isinstance(value, Mapping)
