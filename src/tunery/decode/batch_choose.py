"""How one answer in a batch chooses its tokens: penalties, bias, schema, draw, logprobs.

All of it depends on the answer's own logits and seed alone. Shapes: V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tunery.decode.grammar import Grammar
from tunery.decode.options import Sampling
from tunery.decode.sampling import draw, penalized
from tunery.engines.base import SamplingOptions


@dataclass(frozen=True, slots=True)
class Logprob:
    """A chosen token's log-probability in nats, of the plain logits, and the best rivals."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class TokenChooser:
    """Chooses the tokens of one answer.

    Args:
        options: As asked for.
        seed: Of this answer.
        prompt: Token ids, which the repetition penalty counts.
        top_logprobs: How many rivals to report; None reports nothing.
        grammar: What the answer must follow.
    """

    def __init__(
        self,
        options: SamplingOptions,
        *,
        seed: int,
        prompt: Sequence[int],
        top_logprobs: int | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        self.options = options
        self.grammar = grammar
        self.top_logprobs = top_logprobs
        self._sampling = Sampling(
            temperature=options.temperature, top_p=options.top_p, top_k=options.top_k,
            repetition_penalty=options.repetition_penalty, seed=seed,
        )  # fmt: skip
        self._random = random.Random(seed)
        self._seen = set(prompt) if options.repetition_penalty != 1 else None
        self._counted = bool(options.frequency_penalty or options.presence_penalty)
        self._counts: Tensor | None = None
        self.plain = (
            self._sampling.greedy
            and self._seen is None
            and not self._counted
            and not options.logit_bias
            and grammar is None
            and top_logprobs is None
        )
        """The most likely token is all that is wanted."""

    def choose(self, logits_V: Tensor) -> tuple[int, Logprob | None]:
        """Choose the next token from its scores, which are not changed."""
        raw_V = scores_V = logits_V.float()
        if self._seen is not None:
            scores_V = penalized(scores_V, self._seen, self.options.repetition_penalty)
        if self._counted:
            scores_V = scores_V - self._penalties(scores_V)
        if self.options.logit_bias:
            index = torch.tensor(list(self.options.logit_bias), device=scores_V.device)
            values = list(self.options.logit_bias.values())
            scores_V = scores_V.index_add(0, index, torch.tensor(values, device=scores_V.device))
        if self.grammar is not None:
            scores_V = self.grammar.mask(scores_V)
        if self._sampling.greedy:
            token = int(scores_V.argmax())
        else:
            token = draw(scores_V, self._sampling, self._random.random())
        if self._seen is not None:
            self._seen.add(token)
        if self._counts is not None:
            self._counts[token] += 1
        return token, self._logprob(raw_V, token)

    def _penalties(self, scores_V: Tensor) -> Tensor:
        """OpenAI's two: for each time a token was said, and for having been said at all."""
        if self._counts is None:
            self._counts = torch.zeros_like(scores_V)
        options, counts = self.options, self._counts
        return counts * options.frequency_penalty + (counts > 0) * options.presence_penalty

    def _logprob(self, raw_V: Tensor, token: int) -> Logprob | None:
        if self.top_logprobs is None:
            return None
        logprobs_V = raw_V.log_softmax(dim=-1)
        best = logprobs_V.topk(self.top_logprobs) if self.top_logprobs else None
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else ()
        return Logprob(token, float(logprobs_V[token]), top)
