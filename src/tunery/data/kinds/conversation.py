"""Conversations: each rendered row is its own group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from tunery.chat.remarks import DROPPED, NO_ROOM, NO_TRAINED_TOKEN, WEIGHS_NOTHING
from tunery.config.data import LossOn
from tunery.data import too_long
from tunery.data.groups import WEIGHT
from tunery.data.kinds import messages
from tunery.data.kinds.base import Finding, RenderedGroup, Tokenized, Tools
from tunery.data.problems import Phrase, say
from tunery.types import Conversation, Message, Rendered

MAX_SHOWN = 4_000


class ConversationKind:
    """Messages between a user and an assistant; the answers are trained."""

    name = "conversation"
    type = Conversation
    code = ""
    what = say("conversation data")
    learned = say("single answers")
    sides: tuple[Phrase, ...] = ()
    loss_on: LossOn | None = None

    def mismatch(self, loss_on: LossOn) -> Finding | None:
        """W729: a method for plain text trains on the answers only, unless on all tokens."""
        if loss_on == "all":
            return None
        return Finding(
            "W729",
            say(
                "these are conversations but the method is for plain text: only the answers "
                "are trained on, not every token"
            ),
            say(
                "To train on every token of the conversation, set --data.loss_on all. If this is "
                "intended, --data.accept W729."
            ),
        )

    def conversations(self, example: Conversation) -> Sequence[Conversation]:
        """The example itself."""
        return (example,)

    def groups(
        self, example: Conversation, rendered: Sequence[list[Rendered]], tools: Tools
    ) -> Tokenized:
        """Apply ``data.too_long`` and drop rows without trained tokens, or of weight 0."""
        (rows,) = rendered
        data = tools.data
        trained = [row for row in rows if too_long.trains(row)]
        full = max((len(row.input_ids) for row in rows), default=0)
        if not trained:
            return Tokenized([], NO_TRAINED_TOKEN, full)
        if example.weight == 0:
            return Tokenized([], WEIGHS_NOTHING, full)
        if full > data.max_length:
            trained = [row for row in _shorten(example, trained, tools) if too_long.trains(row)]
        if trained:
            facts = {} if example.weight is None else {WEIGHT: example.weight}
            return Tokenized([RenderedGroup((row,), facts) for row in trained], full_length=full)
        return Tokenized([], DROPPED if data.too_long == "drop" else NO_ROOM, full)

    def texts(self, example: Conversation) -> Iterator[str]:
        """The texts of the messages."""
        return messages.texts(example.messages)

    def with_texts(self, example: Conversation, change: Callable[[str], str]) -> Conversation:
        """Change the texts of the messages."""
        changed = messages.with_texts(example.messages, change)
        return example if changed is example.messages else replace(example, messages=changed)

    def content(self, example: Conversation) -> Any:
        """Messages and tools, and the weight if there is one."""
        weight = [] if example.weight is None else [example.weight]
        return [messages.content(example.messages), list(example.tools), *weight]

    def findings(self, example: Conversation) -> Iterator[Finding]:
        """W711 no answer at the end, W712 an assistant message first, N156 a weight is used."""
        roles = [message.role for message in example.messages if message.role != "system"]
        if roles[-1] == "user":
            yield Finding(
                "W711",
                say("the last message is from the user; it is not trained on"),
                say("Add the answer, or remove the message."),
            )
        if roles[0] == "assistant":
            yield Finding(
                "W712",
                say("the conversation begins with the assistant"),
                say("Some templates need a user message first. To check yours, add --model.name."),
            )
        if example.weight not in (None, 1):
            yield Finding(
                "N156",
                say("the row's weight multiplies its loss"),
                say("If the column means something else, rename it."),
            )

    def tag(self, example: Conversation) -> str:
        """Empty: conversations are not counted."""
        return ""

    def about(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """No problems."""
        return iter(())

    def lacks(self, counts: Mapping[str, int]) -> Finding | None:
        """None: any number of conversations is enough."""
        return None

    def question(self, example: Conversation) -> tuple[Sequence[Message], str] | None:
        """The messages before the last answer, and that answer."""
        last = messages.last_answer(example.messages)
        if last is None:
            return None
        return example.messages[:last], example.messages[last].content

    def said(self, example: Conversation) -> list[Phrase]:
        """The weight of the row, if it has one."""
        weight = example.weight
        return [] if weight is None else [say("weight {weight}", weight=f"{weight:g}")]

    def shown(self, example: Conversation) -> dict[str, Any]:
        """Plain data for a page: ``messages``."""
        return {"messages": messages.shown(example.messages, MAX_SHOWN)}


def _shorten(conversation: Conversation, rows: list[Rendered], tools: Tools) -> list[Rendered]:
    data = tools.data
    limit = data.max_length
    long = [row for row in rows if len(row.input_ids) > limit]
    match data.too_long:
        case "fail":
            raise too_long.fail(max(long, key=lambda row: len(row.input_ids)), limit)
        case "turns":

            def render(shorter: Conversation) -> list[Rendered]:
                return tools.render(shorter, data.loss_on)

            return too_long.drop_turns(conversation, rows, render, limit)
        case "drop":
            return [row for row in rows if len(row.input_ids) <= limit]
        case "truncate_left":
            return [too_long.truncate_left(r, limit, tools.bos) if r in long else r for r in rows]
        case "truncate_right":
            return [too_long.truncate_right(r, limit) if r in long else r for r in rows]
        case "split":
            return [piece for r in rows for piece in too_long.split(r, limit)]
        case _:
            assert_never(data.too_long)
