"""Evaluate one model on a set of rows: compute each row's loss and generate an answer.

The model runs in an engine, local or remote; several rows are sent at once, so that the engine can
batch them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig, Thinking
from tunery.data.kinds import row_kind
from tunery.data.tokenize import tokenize
from tunery.engines.base import Delta, Engine, GenerateRequest
from tunery.errors import EngineError
from tunery.types import Example, Message

ROWS_AT_ONCE = 16
LOOK_SECONDS = 0.5
"""How often to check for a stop while no row finishes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under evaluation.

    Args:
        engine: The engine that runs its base model.
        adapter: Folder of its adapter; None for none.
        template: Renders rows and prompts for it.
        tokenizer: Its tokenizer.
        thinking: How a prompt treats thinking from earlier turns.
    """

    engine: Engine
    adapter: str | None
    template: ChatTemplate
    tokenizer: Any
    thinking: Thinking = "strip_history"


@dataclass(frozen=True, slots=True)
class Measured:
    """The result for one row.

    Args:
        loss: Loss summed over the trained tokens, in nats.
        num_tokens: Number of trained tokens; 0 if none could be measured.
        answer: The generated text; None if no answer was requested.
        too_long: The row or its prompt exceeds the model's context length.
    """

    loss: float = 0.0
    num_tokens: int = 0
    answer: str | None = None
    too_long: bool = False


async def measure(
    subject: Subject,
    examples: Sequence[Example],
    config: DataConfig,
    *,
    max_tokens: int | None,
    on_row: Callable[[int], object],
    stop_if_asked: Callable[[], object],
) -> list[Measured]:
    """Measure a model on every row.

    Args:
        subject: The model under evaluation.
        examples: The rows.
        config: How rows are tokenized.
        max_tokens: Maximum length of an answer; None generates no answers.
        on_row: Called with the number of finished rows.
        stop_if_asked: Raises if a stop was requested.

    Returns:
        One result per row, in order.

    Raises:
        DataError: The template cannot render a row.
        EngineError: The engine exited or does not support the request.
    """
    room = asyncio.Semaphore(ROWS_AT_ONCE)

    async def one(example: Example) -> Measured:
        async with room:
            return await _row(subject, example, config, max_tokens)

    tasks = [asyncio.create_task(one(example)) for example in examples]
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            stop_if_asked()
            for task in done:
                task.result()
            on_row(len(tasks) - len(pending))
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return [task.result() for task in tasks]


async def _row(
    subject: Subject, example: Example, config: DataConfig, max_tokens: int | None
) -> Measured:
    try:
        loss, count = await _loss(subject, example, config)
        answer = None
        question = row_kind(example).question(example) if max_tokens is not None else None
        if max_tokens is not None and question is not None and question[1]:
            answer = await _answer(subject, question[0], max_tokens)
    except EngineError as error:
        if error.code != "too_long":
            raise
        return Measured(too_long=True)
    return Measured(loss, count, answer)


async def _loss(subject: Subject, example: Example, config: DataConfig) -> tuple[float, int]:
    """The loss summed over the trained tokens of one example, and their number."""
    made = await asyncio.to_thread(tokenize, example, subject.template, subject.tokenizer, config)
    loss, count = 0.0, 0
    for rendered in (group.rows[0] for group in made.groups):  # of a pair, the chosen answer
        mask = rendered.loss_mask[1:]
        if any(mask):
            logprobs = await subject.engine.score(rendered.input_ids, adapter=subject.adapter)
            loss -= sum(value for value, trained in zip(logprobs, mask, strict=True) if trained)
            count += sum(map(bool, mask))
    return loss, count


async def _answer(subject: Subject, asked: Sequence[Message], max_tokens: int) -> str:
    template = subject.template
    request = GenerateRequest(
        prompt_ids=template.prompt_ids(asked, thinking=subject.thinking),
        stop_ids=sorted(template.stop_ids),
        adapter=subject.adapter,
        max_tokens=max_tokens,
    )
    text = ""
    async for event in subject.engine.generate(request):
        if isinstance(event, Delta):
            text += event.text
    return text.strip()
