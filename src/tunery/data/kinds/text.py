"""Plain text: every token is trained, and each piece of a long text is its own group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunery.chat.remarks import NO_TRAINED_TOKEN
from tunery.config.data import LossOn
from tunery.data import too_long
from tunery.data.kinds.base import Finding, RenderedGroup, Tokenized, Tools
from tunery.data.problems import Phrase, say
from tunery.env import clipped
from tunery.types import Conversation, Message, Rendered, Text

MAX_SHOWN = 4_000


class TextKind:
    """Text for continued pretraining."""

    name = "text"
    type = Text
    code = ""
    what = say("plain text")
    learned = say("plain text")
    sides: tuple[Phrase, ...] = ()
    loss_on: LossOn | None = None

    def mismatch(self, loss_on: LossOn) -> Finding | None:
        """W730: a method for conversations trains on every token of a text."""
        return Finding(
            "W730",
            say(
                "this is plain text but the method is for conversations: every token is "
                "trained on and no chat template is used"
            ),
            say("If this is intended, set --method.type pretrain, or --data.accept W730."),
        )

    def conversations(self, example: Text) -> Sequence[Conversation]:
        """None: no template is applied."""
        return ()

    def groups(self, example: Text, rendered: Sequence[list[Rendered]], tools: Tools) -> Tokenized:
        """Split the text into pieces; every token is in exactly one piece."""
        ids = tools.encode_text(example.text)
        if len(ids) < 2:
            return Tokenized([], NO_TRAINED_TOKEN, len(ids))
        pieces = too_long.split(
            Rendered(example.text, ids, [True] * len(ids)), tools.data.max_length
        )
        return Tokenized([RenderedGroup((piece,)) for piece in pieces], full_length=len(ids))

    def texts(self, example: Text) -> Iterator[str]:
        """The text."""
        yield example.text

    def with_texts(self, example: Text, change: Callable[[str], str]) -> Text:
        """Change the text."""
        changed = change(example.text)
        return example if changed == example.text else replace(example, text=changed)

    def content(self, example: Text) -> Any:
        """The text."""
        return example.text

    def findings(self, example: Text) -> Iterator[Finding]:
        """No problems."""
        return iter(())

    def tag(self, example: Text) -> str:
        """Empty: texts are not counted."""
        return ""

    def about(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """No problems."""
        return iter(())

    def lacks(self, counts: Mapping[str, int]) -> Finding | None:
        """None: any number of texts is enough."""
        return None

    def question(self, example: Text) -> tuple[Sequence[Message], str] | None:
        """None: a text has no question."""
        return None

    def said(self, example: Text) -> list[Phrase]:
        """No facts."""
        return []

    def shown(self, example: Text) -> dict[str, Any]:
        """Plain data for a page: ``text``."""
        return {"text": clipped(example.text, MAX_SHOWN)}
