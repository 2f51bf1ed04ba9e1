"""The one decode loop: chat, evaluation, replay and export's parity all generate here.

Prompts of different length are padded on the left, with positions and mask to match; a row that
has finished leaves the batch at once. Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tunery.decode.options import GREEDY, Sampling
from tunery.decode.sampling import Chooser

MAX_ROWS = 32

Ending = Literal["stop", "length", "interrupted"]


class OnToken(Protocol):
    """Told of each token as it is chosen; the stop token is not among them."""

    def __call__(self, row: int, token: int, /) -> object:
        """Take token ``token`` of prompt number ``row``."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer.

    Args:
        ids: Token ids without the stop token.
        ending: ``stop`` by a stop token, ``length`` cut by ``max_new_tokens``, ``interrupted`` by
            ``should_stop``.
    """

    ids: list[int]
    ending: Ending


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | Sequence[Sampling] = GREEDY,
    on_token: OnToken | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[list[int]]:
    """Answer every prompt; as ``generate_all``, the token ids alone."""
    answers = generate_all(
        model,
        prompts,
        stop_ids=stop_ids,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        on_token=on_token,
        should_stop=should_stop,
    )
    return [answer.ids for answer in answers]


def generate_all(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    sampling: Sampling | Sequence[Sampling] = GREEDY,
    on_token: OnToken | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Generated]:
    """Answer every prompt.

    Args:
        model: A causal language model of transformers or one wrapped by PEFT, in eval mode.
        prompts: Token ids, each at least one; no padding.
        stop_ids: A row ends when it chooses one of these.
        max_new_tokens: Most tokens of one answer.
        sampling: One for all rows, or one a row. Rows of equal prompt and seed get equal answers.
        on_token: Told of every token at once; it may raise to give up.
        should_stop: Asked before every step; True ends all rows with what they have.

    Returns:
        One answer a prompt, in the given order.

    Raises:
        ValueError: A prompt is empty, the model is in training mode, or there are not as many
            samplings as prompts.
    """
    samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
    if len(samplings) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many samplings, got {len(samplings)}")
    if not all(len(prompt) for prompt in prompts):
        raise ValueError("a prompt must have at least one token")
    if model.training:
        raise ValueError("generation needs the model in eval mode")
    answers = [Generated([], "interrupted") for _ in prompts]
    # Neighbours in length share a batch: less padding.
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(by_length), MAX_ROWS):
        members = by_length[start : start + MAX_ROWS]
        batch = _Batch(
            model, [prompts[i] for i in members], [samplings[i] for i in members], set(stop_ids)
        )
        told = None if on_token is None else _renumbered(on_token, members)
        for i, answer in zip(members, batch.run(max_new_tokens, told, should_stop), strict=True):
            answers[i] = answer
    return answers


def _renumbered(on_token: OnToken, members: Sequence[int]) -> OnToken:
    return lambda row, token: on_token(members[row], token)


class _Batch:
    """The rows that are decoded together, and their cache."""

    def __init__(
        self,
        model: nn.Module,
        prompts: Sequence[Sequence[int]],
        samplings: Sequence[Sampling],
        stop_ids: set[int],
    ) -> None:
        self.model: Any = model
        self.stop_ids = stop_ids
        self.device = next(model.parameters()).device
        self.chooser = Chooser(samplings, prompts)
        self.answers: list[list[int]] = [[] for _ in prompts]
        self.endings: list[Ending] = ["interrupted"] * len(prompts)
        self.rows = list(range(len(prompts)))
        longest = max(len(prompt) for prompt in prompts)
        self.input_ids_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask_BT = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            self.input_ids_BT[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            mask_BT[row, longest - len(prompt) :] = 1
        self.input_ids_BT = self.input_ids_BT.to(self.device)
        self.position_ids_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0).to(self.device)
        # Without padding no mask is needed, and attention takes its faster path.
        self.mask_BT: Tensor | None = None if bool(mask_BT.all()) else mask_BT.to(self.device)

    def run(
        self,
        max_new_tokens: int,
        on_token: OnToken | None,
        should_stop: Callable[[], bool] | None,
    ) -> list[Generated]:
        """Decode until every row has ended."""
        with torch.inference_mode():
            # Growing buffers in its place gained 1 % at 1,500 tokens: not worth their code.
            cache = DynamicCache(config=self.model.config)
            for step in range(max_new_tokens):
                if should_stop is not None and should_stop():
                    break
                tokens_B = self._step(cache)
                kept = self._take(tokens_B.tolist(), on_token, last=step + 1 == max_new_tokens)
                if not kept:
                    break
                self._go_on(cache, tokens_B, kept)
        return [
            Generated(ids, ending) for ids, ending in zip(self.answers, self.endings, strict=True)
        ]

    def _step(self, cache: DynamicCache) -> Tensor:
        logits_B1V = self.model(
            input_ids=self.input_ids_BT,
            attention_mask=self.mask_BT,
            position_ids=self.position_ids_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return self.chooser.choose(logits_B1V[:, -1], self.rows)

    def _take(self, tokens: list[int], on_token: OnToken | None, *, last: bool) -> list[int]:
        """Hand out the tokens; return the lines of the batch that go on."""
        kept: list[int] = []
        for line, (row, token) in enumerate(zip(self.rows, tokens, strict=True)):
            if token in self.stop_ids:
                self.endings[row] = "stop"
                continue
            self.answers[row].append(token)
            if on_token is not None:
                on_token(row, token)
            if last:
                self.endings[row] = "length"
            else:
                kept.append(line)
        return kept

    def _go_on(self, cache: DynamicCache, tokens_B: Tensor, kept: list[int]) -> None:
        """Set up the next step's inputs, without the rows that have ended."""
        positions_B = self.position_ids_BT[:, -1] + 1
        if len(kept) < len(self.rows):
            self.rows = [self.rows[line] for line in kept]
            index = torch.tensor(kept, device=self.device)
            cache.batch_select_indices(index)
            tokens_B, positions_B = tokens_B[index], positions_B[index]
            if self.mask_BT is not None:
                self.mask_BT = self.mask_BT[index]
        self.input_ids_BT = tokens_B[:, None]
        self.position_ids_BT = positions_B[:, None]
        if self.mask_BT is not None:
            ones_B1 = self.mask_BT.new_ones(len(self.rows), 1)
            self.mask_BT = torch.cat([self.mask_BT, ones_B1], dim=1)
