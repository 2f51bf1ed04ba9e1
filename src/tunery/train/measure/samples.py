"""Choose the held-out rows whose prompts are answered before, during and after training.

A run without configured prompts still shows what it learns: it answers the prompts of a few rows
that it is not trained on, the same ones in every run over the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tunery.chat.template import ChatTemplate
from tunery.config.config import Config
from tunery.data.examples import ExampleSet
from tunery.data.kinds import row_kind
from tunery.errors import DataError
from tunery.types import Conversation

MAX_PROMPT_TOKENS = 512
"""Longer prompts are skipped: samples should be cheap and readable at a glance."""
MAX_TRIED = 20
"""Rows tried per requested sample."""


def choose(
    read: ExampleSet, held_out: Sequence[int], config: Config, template: ChatTemplate
) -> list[Conversation]:
    """Choose evenly spaced held-out rows with distinct prompts.

    Args:
        read: All rows.
        held_out: Indices of the held-out rows, ascending.
        config: ``evaluate.samples`` is the number of rows; none are chosen if prompts are
            configured, evaluation is off, or the model will write no text.
        template: Renders the prompts.

    Returns:
        The messages of each row before its last answer; fewer if rows have no prompt (plain text).
    """
    settings = config.evaluate
    if config.method.produces != "text":
        return []
    if settings.prompts or settings.every == "never" or not settings.samples:
        return []
    chosen: dict[str, Conversation] = {}
    for number in _spread(held_out, settings.samples):
        prompt = _prompt(read, number)
        if prompt is not None and _is_short(prompt, config, template):
            chosen.setdefault(prompt.messages[-1].content, prompt)
        if len(chosen) == settings.samples:
            break
    return list(chosen.values())


def _spread(numbers: Sequence[int], wanted: int) -> Iterator[int]:
    """Evenly spaced indices first, then their neighbours, up to MAX_TRIED per wanted one."""
    ends = [len(numbers) * part // wanted for part in range(wanted + 1)]
    for offset in range(MAX_TRIED):
        for start, end in pairwise(ends):
            if start + offset < end:
                yield numbers[start + offset]


def _prompt(read: ExampleSet, number: int) -> Conversation | None:
    """The messages before the last answer; None unless they end with a user message."""
    example = read[number]
    for whole in row_kind(example).conversations(example)[:1]:
        answers = [i for i, message in enumerate(whole.messages) if message.role == "assistant"]
        asked = whole.messages[: answers[-1]] if answers else ()
        if asked and asked[-1].role == "user" and asked[-1].content.strip():
            return Conversation(asked, whole.tools)
    return None


def _is_short(prompt: Conversation, config: Config, template: ChatTemplate) -> bool:
    most = min(MAX_PROMPT_TOKENS, config.data.max_length)
    try:
        ids = template.prompt_ids(prompt.messages, prompt.tools, thinking=config.data.thinking)
    except DataError:  # some templates render whole conversations only; skip such a row
        return False
    return len(ids) <= most
