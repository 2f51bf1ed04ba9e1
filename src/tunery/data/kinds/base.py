"""What a row kind is: how one type of example is read, rendered, cut and shown."""

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
        rows: In the order of the kind.
        facts: Numbers of the whole group, such as ``label``.
    """

    rows: tuple[Rendered, ...]
    facts: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Tokenized:
    """What one example becomes.

    Args:
        groups: Ready for training; empty where the example is dropped.
        dropped_reason: Why there is no group; empty where there is one.
        full_length: The longest row before cutting, in tokens.
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
    """Something remarkable about one example, or about all examples of a dataset.

    Args:
        code: Its first letter gives the level, as in ``data.problems``.
        found: What is there.
        fix: What to do.
    """

    code: str
    found: Phrase
    fix: Phrase = NOTHING


class Tools(Protocol):
    """What a kind needs to turn an example into rows."""

    @property
    def data(self) -> DataConfig:
        """The settings."""
        ...

    @property
    def bos(self) -> int | None:
        """The token that a row begins with, where the tokenizer has one."""
        ...

    def render(self, conversation: Conversation, loss_on: LossOn) -> list[Rendered]:
        """Render a conversation again."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Encode plain text, with its end."""
        ...


class RowKind(Protocol[E]):
    """One type of example. A new kind needs a file in this folder and an entry in ``ROW_KINDS``."""

    @property
    def name(self) -> str:
        """The word in ``method.rows``."""
        ...

    @property
    def type(self) -> type[E]:
        """Its class in ``tunery.types``."""
        ...

    @property
    def code(self) -> str:
        """What is said when its rows meet a method for others; empty for a kind without judgement.

        Rows with a judgement are for the methods that read them, and these read nothing else.
        """
        ...

    @property
    def what(self) -> Phrase:
        """Its rows, in the words of a person who has them."""
        ...

    @property
    def learned(self) -> Phrase:
        """What a method of this kind needs."""
        ...

    @property
    def otherwise(self) -> Finding | None:
        """What is said where a method for other rows takes these; None where it refuses them."""
        ...

    @property
    def sides(self) -> tuple[Phrase, ...]:
        """Names of the rows of a group, where there are several."""
        ...

    @property
    def loss_on(self) -> LossOn | None:
        """Which messages carry loss; None follows ``data.loss_on``."""
        ...

    def conversations(self, example: E) -> Sequence[Conversation]:
        """What is rendered, in order; empty for plain text."""
        ...

    def groups(self, example: E, rendered: Sequence[list[Rendered]], tools: Tools) -> Tokenized:
        """Make the rows, cut to ``data.max_length``.

        Args:
            example: The example.
            rendered: The rows of each of its conversations.
            tools: For rendering again and for text.

        Raises:
            DataError: It is too long under ``too_long: fail``, or the template cannot show it.
        """
        ...

    def texts(self, example: E) -> Iterator[str]:
        """Every text that may contain a placeholder."""
        ...

    def with_texts(self, example: E, change: Callable[[str], str]) -> E:
        """Change every text; the same object where nothing changes."""
        ...

    def content(self, example: E) -> Any:
        """The content as plain JSON, equal for duplicates."""
        ...

    def findings(self, example: E) -> Iterator[Finding]:
        """What is wrong or odd about an example that could be read."""
        ...

    def tag(self, example: E) -> str:
        """What the examples of a dataset are counted by; empty for nothing."""
        ...

    def about(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """What is wrong or odd about examples counted by :meth:`tag`."""
        ...

    def lacks(self, counts: Mapping[str, int]) -> Finding | None:
        """What stops a run whose examples, of all its datasets, were counted by :meth:`tag`."""
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
