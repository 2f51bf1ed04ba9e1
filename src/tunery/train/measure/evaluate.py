"""Measurements during a run: a method's loss, answers to fixed prompts, forgetting.

Nothing here changes weights, writes run files or draws random numbers, so a run with evaluation
and one without end with the same weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from tunery.chat.template import ChatTemplate
from tunery.config.data import Thinking
from tunery.data.collate import Batch, collate_groups
from tunery.data.groups import TokenRow
from tunery.data.packing import pack
from tunery.data.rows import Rows
from tunery.decode import decoder
from tunery.decode.text import HALF
from tunery.methods.base import Method
from tunery.policy.policy import Policy, evaluating
from tunery.train.measure.known import Known
from tunery.types import Conversation


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's greedy answer to one fixed prompt.

    Args:
        prompt: The text of the prompt's last message.
        answer: The generated text.
        stopped: True if it ended with a stop token, False if ``max_new_tokens`` cut it.
    """

    prompt: str
    answer: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class EvalResult:
    """The loss over a set of rows, and the method's measures.

    Args:
        loss: The mean loss that a training step would have over these rows.
        measures: The method's own measures, by name.
        row_losses: Mean loss of each group; NaN if nothing in the group counts.
    """

    loss: float
    measures: Mapping[str, float] = field(default_factory=dict)
    row_losses: Sequence[float] = ()

    def worst(self, count: int) -> list[int]:
        """Indices of the rows with the highest loss, the highest first."""
        known = [row for row, loss in enumerate(self.row_losses) if math.isfinite(loss)]
        return sorted(known, key=lambda row: -self.row_losses[row])[:count]

    @property
    def perplexity(self) -> float:
        """exp(loss), for a loss per token; infinite on overflow."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def answer_prompts(
    model: nn.Module,
    template: ChatTemplate,
    prompts: Sequence[Conversation],
    *,
    max_new_tokens: int,
    thinking: Thinking = "strip_history",
    on_answer: Callable[[int], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
    known: Known | None = None,
) -> list[Answer]:
    """Answer each prompt greedily, in one batch.

    Args:
        prompts: Conversations for the model to continue; each is labelled by its last message.
        on_answer: Called with the number of complete answers whenever one completes.
        known: The cache of this model in its current state; read first, then updated.

    Returns:
        One answer per prompt, in the given order; cut short if ``should_stop`` returns true.
    """
    if not prompts:
        return []
    encoded = [
        template.prompt_ids(prompt.messages, prompt.tools, thinking=thinking) for prompt in prompts
    ]
    answers = answer_ids(
        model, encoded, template.stop_ids, max_new_tokens,
        on_answer=on_answer, should_stop=should_stop, known=known,
    )  # fmt: skip
    return [
        Answer(
            prompt.messages[-1].content,
            _text(template, answer),
            stopped=answer.ending == "stop",
        )
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _text(template: ChatTemplate, answer: decoder.Answer) -> str:
    """What an answer says; the last character is left out if the token limit cut it in two."""
    text = template.decode(answer.ids).strip()
    return text if answer.ending == "stop" else text.rstrip(HALF).rstrip()


def answer_ids(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    stop_ids: Collection[int],
    max_tokens: int,
    *,
    on_answer: Callable[[int], object] | None = None,
    should_stop: Callable[[], bool] | None = None,
    known: Known | None = None,
) -> list[decoder.Answer]:
    """Answer the prompts greedily; see ``Decoder.answer``.

    Args:
        known: The cache of this model in its current state; read first, then updated.
    """
    question = {"answers": prompts, "stop": sorted(stop_ids), "max_tokens": max_tokens}
    found = known.recall(**question) if known else None
    if found is not None:
        return [decoder.Answer(ids, ending) for ids, ending in found]
    with evaluating(model):
        answers = decoder.Decoder(model).answer(
            prompts, stop_ids=stop_ids, max_tokens=max_tokens, on_answer=on_answer,
            should_stop=should_stop,
        )  # fmt: skip
    if known and all(answer.ending != "interrupted" for answer in answers):
        known.keep([(answer.ids, answer.ending) for answer in answers], **question)
    return answers


def evaluate(
    policy: Policy,
    method: Method,
    rows: Rows,
    *,
    capacity: int,
    should_stop: Callable[[], bool] | None = None,
    on_rows: Callable[[int], object] | None = None,
) -> EvalResult:
    """Measure the loss of a method over rows, as a training step would, without a gradient.

    Args:
        policy: Set to eval mode during the call.
        method: Computes the loss.
        rows: Rows prepared by the method.
        capacity: Maximum tokens per forward pass.
        should_stop: Called before every forward pass; a stop leaves the remaining rows unmeasured.
        on_rows: Called with the number of measured rows after every forward pass.

    Raises:
        ValueError: None of the rows has anything to evaluate.
    """
    units: dict[str, int] = {}
    total: dict[str, float] = {}
    sums: dict[str, tuple[float, float]] = {}
    measured = 0
    losses = np.full(len(rows), np.nan)
    with evaluating(policy.model), torch.inference_mode():
        beside = () if rows.beside is None else _batches(policy, rows.beside, capacity)
        facts = method.before_step(policy, [batch for _, batch in beside])
        for members, batch in _batches(policy, rows, capacity):
            if should_stop is not None and should_stop():
                break
            made = method.loss(policy, batch, facts)
            counts = [method.units(rows.group(i)) for i in members]
            for name, value in made.total.items():
                units[name] = units.get(name, 0) + sum(count[name] for count in counts)
                total[name] = total.get(name, 0.0) + float(value)
            for name, pair in made.sums.items():
                before = sums.get(name, (0.0, 0.0))
                sums[name] = (before[0] + float(pair[0]), before[1] + float(pair[1]))
            if made.each is not None:
                losses[members] = made.each.cpu().numpy()
            measured += len(members)
            if on_rows is not None:
                on_rows(measured)
    if not any(units.values()):
        raise ValueError("nothing of these rows can be evaluated")
    return EvalResult(
        sum(value / units[name] for name, value in total.items()),
        {name: value / count for name, (value, count) in sums.items() if count},
        losses.tolist(),
    )


def mean_nll(
    policy: Policy,
    rows: Sequence[TokenRow],
    *,
    capacity: int,
    should_stop: Callable[[], bool] | None = None,
    known: Known | None = None,
    on_rows: Callable[[int], object] | None = None,
) -> float:
    """Mean negative log-likelihood of the rows' trained tokens, independent of the method.

    Args:
        policy: Set to eval mode during the call.
        rows: Rows with at least one trained token in total.
        capacity: Maximum tokens per forward pass.
        should_stop: Called before every forward pass.
        known: The cache of this model in its current state; read first, then updated.
        on_rows: Called with the number of measured rows after every forward pass.

    Returns:
        Nats per token; NaN if stopped before the first forward pass.
    """
    question = {"nll": _digest(rows), "capacity": capacity} if known else {}
    found = known.recall(**question) if known else None
    if found is not None:
        return float(found)
    total, count, measured = 0.0, 0, 0
    with evaluating(policy.model), torch.inference_mode():
        for members, batch in _batches(policy, Rows.of(rows), capacity):
            if should_stop is not None and should_stop():
                return total / count if count else math.nan
            total -= float(policy.logprobs(batch).double().sum())
            count += batch.num_trained
            measured += len(members)
            if on_rows is not None:
                on_rows(measured)
    value = total / count if count else math.nan
    if known:
        known.keep(value, **question)
    return value


def _digest(rows: Sequence[TokenRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{len(row.input_ids)} ".encode())
        digest.update(row.input_ids.tobytes() + row.loss_mask.tobytes())
    return digest.hexdigest()


def _batches(policy: Policy, rows: Rows, capacity: int) -> Iterator[tuple[list[int], Batch]]:
    """Packed batches with the indices of their groups."""
    for members in pack(rows.lengths, max(capacity, int(rows.lengths.max(initial=1)))):
        batch = collate_groups([rows.group(i) for i in members], members, trim=rows.trim)
        yield members, batch.to(policy.device)


def probe_rows(
    examples: Sequence[Conversation], template: ChatTemplate, *, max_length: int
) -> list[TokenRow]:
    """Tokenize the probe set for the forgetting score; rows that do not fit are dropped."""
    rows: list[TokenRow] = []
    for example in examples:
        for rendered in template.render(example):
            if len(rendered.input_ids) <= max_length and any(rendered.loss_mask):
                rows.append(
                    TokenRow(
                        np.asarray(rendered.input_ids, dtype=np.int32),
                        np.asarray(rendered.loss_mask, dtype=bool),
                    )
                )
    return rows
