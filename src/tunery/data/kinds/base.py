"""The row kind protocol: how one type of example is rendered, truncated, checked and displayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tunery.config.data import DataConfig, LossOn
from tunery.data.problems import NOTHING, Phrase
from tunery.types import Conversation, Message, Rendered

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class RenderedGroup:
    """The rows of one example that are trained together.

    Args:
        rows: The rows, in the order that the kind defines.
        facts: Values of the whole group, such as ``label``.
    """

    rows: tuple[Rendered, ...]
    facts: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The result of tokenizing one example.

    Args:
        groups: Groups ready for training; empty if the example is dropped.
        dropped_reason: Why the example is dropped; empty if it is used.
        full_length: Length of the longest row before truncation, in tokens.
    """

    groups: list[RenderedGroup]
    dropped_reason: str = ""
    full_length: int = 0

    @property
    def rows(self) -> list[Rendered]:
        """The rows of all its groups, in order."""
        return [row for group in self.groups for row in group.rows]


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding about one example, or about all examples of a dataset.

    Args:
        code: Stable code; its first letter gives the level, as in ``data.problems``.
        found: What was found.
        fix: What to do.
    """

    code: str
    found: Phrase
    fix: Phrase = NOTHING


class Tools(Protocol):
    """The settings, renderer and encoder that a kind needs to tokenize an example."""

    @property
    def data(self) -> DataConfig:
        """The ``data`` settings."""
        ...

    @property
    def bos(self) -> int | None:
        """ID of the tokenizer's BOS token, if it has one."""
        ...

    def render(self, conversation: Conversation, loss_on: LossOn) -> list[Rendered]:
        """Render a conversation to training rows."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Encode plain text to token IDs, with EOS at the end."""
        ...


class RowKind(Protocol[E]):
    """One type of example. A new kind needs a file in this folder and an entry in ``ROW_KINDS``."""

    @property
    def name(self) -> str:
        """The name in ``rows`` of a method."""
        ...

    @property
    def type(self) -> type[E]:
        """Its class in ``tunery.types``."""
        ...

    @property
    def code(self) -> str:
        """Error code if a method for other rows gets these; empty without preferences or labels.

        Rows with preferences or labels need a method for them, and such a method needs such rows.
        """
        ...

    @property
    def what(self) -> Phrase:
        """A description of its rows, such as "plain text"."""
        ...

    @property
    def learned(self) -> Phrase:
        """A description of what a method for this kind needs."""
        ...

    @property
    def sides(self) -> tuple[Phrase, ...]:
        """Names of the rows of a group if there are several."""
        ...

    @property
    def loss_on(self) -> LossOn | None:
        """Which messages are trained; None means ``data.loss_on``."""
        ...

    def mismatch(self, loss_on: LossOn) -> Finding | None:
        """Warning if a method for other rows accepts these; None if it rejects them.

        Args:
            loss_on: ``data.loss_on``.
        """
        ...

    def conversations(self, example: E) -> Sequence[Conversation]:
        """The conversations to render, in order; empty for plain text."""
        ...

    def groups(self, example: E, rendered: Sequence[list[Rendered]], tools: Tools) -> Tokenized:
        """Make the groups of an example, with rows of at most ``data.max_length`` tokens.

        Args:
            example: The example.
            rendered: The rows of each of its conversations.
            tools: Settings, renderer and encoder.

        Raises:
            DataError: The example is too long with ``too_long: fail``, or cannot be rendered.
        """
        ...

    def texts(self, example: E) -> Iterator[str]:
        """Every text that may contain a placeholder."""
        ...

    def with_texts(self, example: E, change: Callable[[str], str]) -> E:
        """Change every text; returns the same object if nothing changes."""
        ...

    def content(self, example: E) -> Any:
        """The content as plain JSON, equal for duplicates."""
        ...

    def findings(self, example: E) -> Iterator[Finding]:
        """Problems of an example that was read successfully."""
        ...

    def tag(self, example: E) -> str:
        """The tag by which the examples of a dataset are counted; empty if they are not."""
        ...

    def about(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """Problems of all examples of a dataset, counted by :meth:`tag`."""
        ...

    def lacks(self, counts: Mapping[str, int]) -> Finding | None:
        """What is missing in all examples of a run, counted by :meth:`tag`; it stops the run."""
        ...

    def question(self, example: E) -> tuple[Sequence[Message], str] | None:
        """The prompt messages and the expected answer; None if there is none."""
        ...

    def said(self, example: E) -> list[Phrase]:
        """Facts about the example other than its texts, for display."""
        ...

    def shown(self, example: E) -> dict[str, Any]:
        """Plain data for a page: ``text``, ``messages``, or ``prompt`` with two sides."""
        ...
