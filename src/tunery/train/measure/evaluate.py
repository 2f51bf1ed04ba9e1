"""What is measured while a run goes on: held-out loss, answers to fixed prompts, forgetting.

Pure measuring: nothing here changes weights, writes files or draws random numbers, so that a run
with evaluation and one without end in the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from torch import nn

from tunery.chat.template import ChatTemplate
from tunery.config.data import Thinking
from tunery.data.collate import collate
from tunery.data.groups import TokenRow
from tunery.data.packing import pack
from tunery.decode.decoder import Decoder
from tunery.policy.forward import each_loss
from tunery.types import Conversation, Message


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's greedy answer to one fixed prompt.

    Args:
        prompt: The user's words.
        answer: What the model said.
        stopped: True if it ended by itself, False if ``max_new_tokens`` cut it.
    """

    prompt: str
    answer: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Loss over a set of rows.

    Args:
        loss: Mean negative log-likelihood of the trained tokens, in nats.
        num_tokens: How many tokens carried loss.
        row_losses: Mean loss of each row's trained tokens; not a number for a row without any.
    """

    loss: float
    num_tokens: int
    row_losses: Sequence[float] = ()

    def worst(self, count: int) -> list[int]:
        """The rows with the highest loss, the highest first."""
        known = [row for row, loss in enumerate(self.row_losses) if math.isfinite(loss)]
        return sorted(known, key=lambda row: -self.row_losses[row])[:count]

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that overflows."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def answer_prompts(
    model: nn.Module,
    template: ChatTemplate,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    thinking: Thinking = "strip_history",
    should_stop: Callable[[], bool] | None = None,
) -> list[Answer]:
    """Answer each prompt greedily, as one user message, in one batch.

    Returns:
        One answer a prompt, in the given order; cut where ``should_stop`` said so.
    """
    if not prompts:
        return []
    encoded = [
        template.prompt_ids([Message("user", prompt)], thinking=thinking) for prompt in prompts
    ]
    with evaluating(model):
        answers = Decoder(model).answer(
            encoded,
            stop_ids=template.stop_ids,
            max_tokens=max_new_tokens,
            should_stop=should_stop,
        )
    return [
        Answer(prompt, template.decode(answer.ids).strip(), stopped=answer.ending == "stop")
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def mean_loss(
    model: nn.Module,
    rows: Sequence[TokenRow],
    *,
    capacity: int,
    should_stop: Callable[[], bool] | None = None,
) -> EvalResult:
    """Measure the loss of the trained tokens of ``rows``, packed.

    Args:
        model: Any causal language model; it is put in eval mode for the time being.
        rows: What is measured.
        capacity: Most tokens in one forward pass.
        should_stop: Asked before every forward pass; a stop leaves the rest unmeasured.

    Raises:
        ValueError: No row has a trained token.
    """
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    device = next(model.parameters()).device
    sums = np.zeros(len(rows))
    counts = np.zeros(len(rows), dtype=np.int64)
    with evaluating(model):
        for members in pack(lengths, max(capacity, int(lengths.max(initial=1)))):
            if should_stop is not None and should_stop():
                break
            batch = collate([rows[i] for i in members]).to(device)
            losses = each_loss(model, batch).double().cpu().numpy()
            ends = np.cumsum(batch.trained_counts)
            for row, end, trained in zip(batch.rows, ends, batch.trained_counts, strict=True):
                sums[members[row]] = losses[end - trained : end].sum()
                counts[members[row]] = trained
    if not counts.any():
        raise ValueError("no row to evaluate on has a trained token")
    means = sums / np.where(counts, counts, np.nan)
    return EvalResult(float(sums.sum() / counts.sum()), int(counts.sum()), tuple(means.tolist()))


def probe_rows(
    examples: Sequence[Conversation], template: ChatTemplate, *, max_length: int
) -> list[TokenRow]:
    """Tokenize the probe set for the forgetting score; rows that do not fit are left out."""
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


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode and back, without touching any random state."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
