"""Pairs: a group of two rows with the same prompt, the chosen answer first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunery.config.data import LossOn
from tunery.data.kinds import answers, messages
from tunery.data.kinds.base import Finding, RenderedGroup, Tokenized, Tools
from tunery.data.problems import Phrase, say
from tunery.types import Conversation, Message, Pair, Rendered

MAX_SHOWN = 4_000


class PairKind:
    """A prompt with a chosen and a rejected answer."""

    name = "pair"
    type = Pair
    code = "E503"
    what = say("preference data (chosen, rejected)")
    learned = say("pairs of a chosen and a rejected answer")
    sides = (say("chosen"), say("rejected"))
    loss_on: LossOn | None = answers.LOSS_ON

    def mismatch(self, loss_on: LossOn) -> Finding | None:
        """None: methods for other rows reject these."""
        return None

    def conversations(self, example: Pair) -> Sequence[Conversation]:
        """Prompt and chosen answer, prompt and rejected answer."""
        prompt = answers.untrained(example.prompt.messages)
        return [
            replace(example.prompt, messages=(*prompt, *side), ref=example.ref)
            for side in (example.chosen, example.rejected)
        ]

    def groups(self, example: Pair, rendered: Sequence[list[Rendered]], tools: Tools) -> Tokenized:
        """Make one group of chosen and rejected; both are truncated or dropped together."""
        rows = answers.single(rendered)
        full = max(len(row.input_ids) for row in rows)
        num_prompt = len(example.prompt.messages)
        fitted, reason = answers.fit(self.conversations(example), rows, num_prompt, tools)
        if reason:
            return Tokenized([], reason, full)
        facts = {} if example.margin is None else {"margin": float(example.margin)}
        return Tokenized([RenderedGroup(tuple(fitted), facts)], full_length=full)

    def texts(self, example: Pair) -> Iterator[str]:
        """The texts of the prompt, chosen and rejected messages."""
        for part in (example.prompt.messages, example.chosen, example.rejected):
            yield from messages.texts(part)

    def with_texts(self, example: Pair, change: Callable[[str], str]) -> Pair:
        """Change the texts of all three parts."""
        prompt = messages.with_texts(example.prompt.messages, change)
        chosen = messages.with_texts(example.chosen, change)
        rejected = messages.with_texts(example.rejected, change)
        if (
            prompt is example.prompt.messages
            and chosen is example.chosen
            and rejected is example.rejected
        ):
            return example
        conversation = replace(example.prompt, messages=prompt)
        return replace(example, prompt=conversation, chosen=chosen, rejected=rejected)

    def content(self, example: Pair) -> Any:
        """Prompt, tools, both answers."""
        return [
            messages.content(example.prompt.messages),
            list(example.prompt.tools),
            messages.content(example.chosen),
            messages.content(example.rejected),
        ]

    def findings(self, example: Pair) -> Iterator[Finding]:
        """Equal answers (E511), answers that differ only in whitespace (W721), negative margins."""
        chosen, rejected = messages.content(example.chosen), messages.content(example.rejected)
        if chosen == rejected:
            yield Finding(
                "E511",
                say("chosen and rejected are the same answer"),
                say("Correct one of them, or remove the row."),
            )
        elif _squeezed(example.chosen) == _squeezed(example.rejected):
            yield Finding(
                "W721",
                say("chosen and rejected differ only in whitespace"),
                say(
                    "The model would learn only that difference. Correct the row if it is "
                    "not intended."
                ),
            )
        if example.margin is not None and example.margin < 0:
            yield Finding(
                "W724",
                say("the margin is {margin}: rejected is scored higher", margin=example.margin),
                say("Swap the two answers if the scores are right."),
            )

    def tag(self, example: Pair) -> str:
        """Empty: pairs are not counted."""
        return ""

    def about(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """No problems."""
        return iter(())

    def lacks(self, counts: Mapping[str, int]) -> Finding | None:
        """None: any number of pairs is enough."""
        return None

    def question(self, example: Pair) -> tuple[Sequence[Message], str] | None:
        """The prompt, and the chosen answer."""
        last = messages.last_answer(example.chosen)
        if last is None:
            return None
        return (*example.prompt.messages, *example.chosen[:last]), example.chosen[last].content

    def said(self, example: Pair) -> list[Phrase]:
        """The margin, if there is one."""
        margin = example.margin
        return [] if margin is None else [say("margin {margin}", margin=f"{margin:g}")]

    def shown(self, example: Pair) -> dict[str, Any]:
        """Plain data for a page: ``prompt``, ``chosen``, ``rejected`` and ``margin``."""
        return {
            "prompt": messages.shown(example.prompt.messages, MAX_SHOWN),
            "chosen": messages.shown(example.chosen, MAX_SHOWN),
            "rejected": messages.shown(example.rejected, MAX_SHOWN),
            "margin": example.margin,
            "said": [phrase.local() for phrase in self.said(example)],
        }


def _squeezed(part: tuple[Message, ...]) -> Any:
    return messages.content(messages.with_texts(part, lambda text: "".join(text.split())))
