"""Labeled rows: an answer in any of the usual formats, and a label, good or bad."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from types import MappingProxyType
from typing import Any

from tunery.data.formats.alpaca import Alpaca
from tunery.data.formats.base import Columns, Format, Row, RowOptions, missing, never
from tunery.data.formats.openai import OpenAI
from tunery.data.formats.prompt_completion import PromptCompletion
from tunery.data.formats.sharegpt import ShareGPT
from tunery.data.groups import WEIGHT
from tunery.data.problems import NOTHING, Phrase, RowProblem, say, show
from tunery.types import Example, Labelled, RowRef

ANSWERS: tuple[Format, ...] = (ShareGPT(), OpenAI(), PromptCompletion(), Alpaca())
TAG = "kto_tag"
WORDS = {"true": True, "false": False, "1": True, "0": False}


class Unpaired(Columns):
    """One answer and its label."""

    name = "unpaired"
    makes = Labelled
    required = ("label",)
    # The weights of SFT are not read: labels have weights of their own.
    known = (
        *dict.fromkeys(column for each in ANSWERS for column in each.known if column != WEIGHT),
        "label",
    )
    usual = MappingProxyType({"label": (TAG,)})

    def kept(self, declared: Container[str]) -> tuple[str, ...]:
        """The label and the answer columns: of the configured formats, or of all if none is."""
        named = [each for each in ANSWERS if any(name in declared for name in each.required)]
        return ("label", *(name for each in named or ANSWERS for name in each.required))

    def score(self, raw: Row, options: RowOptions) -> float:
        """1 if the row has an answer and a column that can only be a label, otherwise 0."""
        if self._answer(raw, options) is None:
            return 0.0
        label = raw.get(options.column("label"))
        if isinstance(label, str):
            label = WORDS.get(label.strip().lower())
        sure = isinstance(label, int | float) and label in (0, 1)
        return 1.0 if sure or TAG in raw else 0.0

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Never true, because every label is counted."""
        return never

    def instead(self, raw: Row, options: RowOptions) -> Phrase:
        """Advice how to read the answers as single ones, without the bad ones."""
        answer = self._answer(raw, options)
        if answer is None:
            return NOTHING
        return say(
            "To learn only from the good answers, remove the rows labeled false and set "
            "--data.format {way}.",
            way=answer.name,
        )

    def unread(self, raw: Row, options: RowOptions, example: Example) -> Iterable[str]:
        """Columns that the answer's format does not use, and the columns of other formats."""
        answer = self._answer(raw, options)
        if answer is None:
            return ()
        others = set(self.known).difference(answer.known, ("label",))
        return (*answer.unread(raw, options, example), *others)

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Labelled:
        """Convert a row to a labeled conversation."""
        label = self._label(self.value(raw, "label", options), options.column("label"))
        answer = self._answer(raw, options)
        if answer is None:
            raise missing("messages", raw, self, options)
        conversation: Any = answer.convert(raw, options, None)
        if conversation.messages[-1].role != "assistant":
            column = options.column(answer.required[0])
            raise RowProblem(
                "E406",
                column,
                say("{field} does not end with an assistant answer", field=column),
                say("Add the answer, or remove the row."),
            )
        return Labelled(conversation, label, ref)

    def _answer(self, raw: Row, options: RowOptions) -> Format | None:
        for each in ANSWERS:
            if all(options.column(name) in raw for name in each.required):
                return each
        return None

    def _label(self, value: Any, column: str) -> bool:
        if value is None:
            raise RowProblem(
                "E303",
                column,
                say("field {field} is null", field=column),
                say("Write true or false, or remove the row."),
            )
        if isinstance(value, bool | int | float) and value in (0, 1):
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in WORDS:
            return WORDS[value.strip().lower()]
        raise RowProblem(
            "E504",
            column,
            say("field {field}: expected true or false, found {what}", field=column,
                what=show(value)),
            say("Write true for a good answer, false for a bad one."),
        )  # fmt: skip
