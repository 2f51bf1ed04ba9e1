"""Replay against forgetting: mix in general prompts answered by the base model itself.

The answers are generated once, before the first step, by the unmodified base model (greedy), and
saved in the run folder as ``replay.jsonl`` with their token ids; a resumed run reads them back, so
the rows are bit-identical. An answer cut by ``max_new_tokens`` is trained without a stop token, so
that the model does not learn to stop there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from tunery import atomic
from tunery.chat.template import ChatTemplate
from tunery.config.data import ReplayConfig
from tunery.data.groups import REPLAY, RowGroup, TokenRow
from tunery.data.rows import Rows
from tunery.errors import DataError
from tunery.i18n import t
from tunery.train.measure.evaluate import answer_ids
from tunery.train.measure.known import Known
from tunery.types import Conversation, Message


def as_rows(answers: Sequence[TokenRow]) -> Rows:
    """Replay answers as groups that a method can tell from the other rows."""
    return Rows.of_groups([RowGroup((row,), {REPLAY: 1.0}) for row in answers], name="replay")


def choose(
    examples: Sequence[Conversation], config: ReplayConfig, *, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Split general conversations into replay prompts and the rest, which measures forgetting.

    The two never share a row, so the forgetting score is not measured on replayed rows.

    Raises:
        DataError: There are fewer general prompts than ``data.replay.num_prompts``.
    """
    if config.num_prompts > len(examples):
        raise DataError(
            t(
                "data.replay.num_prompts is {found}, but {name} has {count} prompts.",
                found=config.num_prompts,
                name=config.prompts,
                count=len(examples),
            ),
            fix=t(
                "Set data.replay.num_prompts to at most {count}, or set data.replay.prompts "
                "to a larger dataset.",
                count=len(examples),
            ),
        )
    order = np.random.default_rng([seed, 0x5E91A7]).permutation(len(examples))
    chosen = set(order[: config.num_prompts].tolist())
    replayed = [example for i, example in enumerate(examples) if i in chosen]
    rest = [example for i, example in enumerate(examples) if i not in chosen]
    return replayed, rest


def make(
    model: nn.Module,
    template: ChatTemplate,
    examples: Sequence[Conversation],
    config: ReplayConfig,
    *,
    file: Path,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    known: Known | None = None,
) -> list[TokenRow]:
    """Answer the prompts with the base model, save the answers in ``file``, return training rows.

    Args:
        model: The base model, before any adapter weight has changed.
        examples: Conversations whose messages before the first answer are the prompts.
        file: ``replay.jsonl`` of the run; if it exists, it is read and nothing is generated.
        progress: Called with (answered, total).
        should_stop: Called between decoding steps.
        known: The cache of this model; read first, then updated.

    Returns:
        Training rows; empty if ``should_stop`` interrupted the generation.
    """
    if file.exists():
        return read(file)
    prompts = [template.prompt_ids(_prompt(example)) for example in examples]
    answers = answer_ids(
        model,
        prompts,
        template.stop_ids,
        config.max_new_tokens,
        on_answer=None if progress is None else lambda done: progress(done, len(prompts)),
        should_stop=should_stop,
        known=known,
    )
    if any(answer.ending == "interrupted" for answer in answers):
        return []
    records: list[dict[str, object]] = []
    # This order determines the row indices of the run.
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        ids, ended = answers[i].ids, answers[i].ending == "stop"
        records.append(
            {
                "prompt": _prompt(examples[i])[-1].content,
                "answer": template.decode(ids),
                "ended": ended,
                "prompt_ids": prompts[i],
                "answer_ids": [*ids, template.stop_id] if ended else ids,
            }
        )
    atomic.write(file, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records))
    return read(file)


def read(file: Path) -> list[TokenRow]:
    """Read the replay rows from a run folder."""
    rows: list[TokenRow] = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            prompt, answer = record["prompt_ids"], record["answer_ids"]
            if answer:
                ids = np.asarray(prompt + answer, dtype=np.int32)
                mask = np.zeros(len(ids), dtype=bool)
                mask[len(prompt) :] = True
                rows.append(TokenRow(ids, mask))
    return rows


def _prompt(example: Conversation) -> list[Message]:
    """The messages before the first answer."""
    prompt: list[Message] = []
    for message in example.messages:
        if message.role == "assistant":
            break
        prompt.append(message)
    return prompt
