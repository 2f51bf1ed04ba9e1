"""Labeled rows: one good or bad answer; a group of one row with the fact ``label``, 1 or 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunery.config.data import LossOn
from tunery.data.kinds import answers, messages
from tunery.data.kinds.base import Finding, RenderedGroup, Tokenized, Tools
from tunery.data.problems import Phrase, say
from tunery.types import Conversation, Labelled, Message, Rendered

MAX_SHOWN = 4_000
EVEN = 4 / 3
"""Ratio of labels up to which no weights are needed (KTO, section 4.2)."""


class LabelledKind:
    """One answer, labeled good or bad."""

    name = "labelled"
    type = Labelled
    code = "E505"
    what = say("labeled data (good and bad answers)")
    learned = say("answers labeled good or bad")
    sides: tuple[Phrase, ...] = ()
    loss_on: LossOn | None = answers.LOSS_ON

    def mismatch(self, loss_on: LossOn) -> Finding | None:
        """None: methods for other rows reject these."""
        return None

    def conversations(self, example: Labelled) -> Sequence[Conversation]:
        """The conversation; only the messages after the last user message are trained."""
        whole = example.conversation
        start = _answer_start(whole.messages)
        parts = (*answers.untrained(whole.messages[:start]), *whole.messages[start:])
        return [replace(whole, messages=parts, ref=example.ref)]

    def groups(
        self, example: Labelled, rendered: Sequence[list[Rendered]], tools: Tools
    ) -> Tokenized:
        """Make one group of one row."""
        rows = answers.single(rendered)
        full = len(rows[0].input_ids)
        start = _answer_start(example.conversation.messages)
        fitted, reason = answers.fit(self.conversations(example), rows, start, tools)
        if reason:
            return Tokenized([], reason, full)
        group = RenderedGroup(tuple(fitted), {"label": float(example.label)})
        return Tokenized([group], full_length=full)

    def texts(self, example: Labelled) -> Iterator[str]:
        """The texts of the messages."""
        return messages.texts(example.conversation.messages)

    def with_texts(self, example: Labelled, change: Callable[[str], str]) -> Labelled:
        """Change the texts of the messages."""
        old = example.conversation.messages
        changed = messages.with_texts(old, change)
        if changed is old:
            return example
        return replace(example, conversation=replace(example.conversation, messages=changed))

    def content(self, example: Labelled) -> Any:
        """The messages, tools and label."""
        whole = example.conversation
        return [messages.content(whole.messages), list(whole.tools), example.label]

    def findings(self, example: Labelled) -> Iterator[Finding]:
        """No problems."""
        return iter(())

    def tag(self, example: Labelled) -> str:
        """The label, ``true`` or ``false``."""
        return "true" if example.label else "false"

    def about(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """Warn if one label is missing (W722) or the labels are imbalanced (W723)."""
        good, bad = counts.get("true", 0), counts.get("false", 0)
        if finding := self.lacks(counts):
            yield replace(finding, code="W722")
        elif max(good, bad) > EVEN * min(good, bad):
            weights = (1.0, good / bad) if good > bad else (bad / good, 1.0)
            yield Finding(
                "W723",
                say(
                    "{good} rows are labeled true and {bad} false",
                    good=f"{good:,}",
                    bad=f"{bad:,}",
                ),
                say(
                    "Weights that balance them: {desirable} for true, {undesirable} for false.",
                    desirable=f"{weights[0]:.2f}",
                    undesirable=f"{weights[1]:.2f}",
                ),
            )

    def lacks(self, counts: Mapping[str, int]) -> Finding | None:
        """E506 if all rows have the same label."""
        good, bad = counts.get("true", 0), counts.get("false", 0)
        if (good and bad) or not (good or bad):
            return None
        return Finding(
            "E506",
            say(
                "all {count} rows have the label {label}; a run needs both labels",
                count=f"{good + bad:,}",
                label="true" if good else "false",
            ),
            say("Add rows with the other label, here or in another dataset of the run."),
        )

    def question(self, example: Labelled) -> tuple[Sequence[Message], str] | None:
        """The messages before the last answer, and that answer, or empty text if it is bad."""
        whole = example.conversation.messages
        last = messages.last_answer(whole)
        if last is None:
            return None
        return whole[:last], whole[last].content if example.label else ""

    def said(self, example: Labelled) -> list[Phrase]:
        """The label."""
        return [say("good answer") if example.label else say("bad answer")]

    def shown(self, example: Labelled) -> dict[str, Any]:
        """Plain data for a page: ``messages`` and ``label``."""
        return {
            "messages": messages.shown(example.conversation.messages, MAX_SHOWN),
            "label": example.label,
            "said": [phrase.local() for phrase in self.said(example)],
        }


def _answer_start(parts: Sequence[Message]) -> int:
    """Index at which the labeled answer starts: after the last user message."""
    users = (i + 1 for i in range(len(parts) - 1, -1, -1) if parts[i].role == "user")
    return next(users, 0)
