"""Token selection for one answer: penalties, bias, schema, sampling and log-probabilities.

Everything depends only on the answer's own logits and seed, so the same request gives the same
answer regardless of what else is in the batch. Shapes: V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tunery.engines.base import SamplingOptions

if TYPE_CHECKING:
    from tunery.decode.grammar import Grammar

TOP_P_FIRST_LOOK = 256


@dataclass(frozen=True, slots=True)
class Logprob:
    """A chosen token with its log-probabilities in nats; see ``TokenLogprob``.

    Args:
        token: Token id.
        logprob: Under the unmodified logits.
        top: The most likely tokens under the unmodified logits.
        drawn: In the distribution from which the token was drawn.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    drawn: float


class TokenChooser:
    """Chooses the tokens of one answer.

    Args:
        options: Sampling options of the request.
        seed: Seed of this answer.
        prompt: Token ids, which count for the repetition penalty.
        top_logprobs: Number of alternatives to report; None reports no log-probabilities.
        grammar: The grammar that the answer must follow.
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
        self._random = random.Random(seed)
        self._seen = set(prompt) if options.repetition_penalty != 1 else None
        self._counted = bool(options.frequency_penalty or options.presence_penalty)
        self._counts: Tensor | None = None
        self.plain = (
            options.greedy
            and self._seen is None
            and not self._counted
            and not options.logit_bias
            and grammar is None
            and top_logprobs is None
        )
        """Whether the argmax of the logits is sufficient."""

    def choose(self, logits_V: Tensor) -> tuple[int, Logprob | None]:
        """Choose the next token from its logits, which are not modified."""
        raw_V = scores_V = logits_V.float()
        if self._seen is not None:
            scores_V = penalized(scores_V, self._seen, self.options.repetition_penalty)
        if self._counted:
            scores_V = scores_V - self._penalties(scores_V)
        if self.options.logit_bias:
            index = torch.tensor(list(self.options.logit_bias), device=scores_V.device)
            values = list(self.options.logit_bias.values())
            scores_V = scores_V.index_add(0, index, torch.tensor(values).to(scores_V))
        if self.grammar is not None:
            scores_V = self.grammar.mask(scores_V)
        if self.options.greedy:
            token, drawn = int(scores_V.argmax()), 0.0
        else:
            token, drawn = draw(scores_V, self.options, self._random.random())
        if self._seen is not None:
            self._seen.add(token)
        if self._counts is not None:
            self._counts[token] += 1
        return token, self._logprob(raw_V, token, drawn)

    def _penalties(self, scores_V: Tensor) -> Tensor:
        """OpenAI's frequency and presence penalties: per occurrence, and for any occurrence."""
        if self._counts is None:
            self._counts = torch.zeros_like(scores_V)
        options, counts = self.options, self._counts
        return counts * options.frequency_penalty + (counts > 0) * options.presence_penalty

    def _logprob(self, raw_V: Tensor, token: int, drawn: float) -> Logprob | None:
        if self.top_logprobs is None:
            return None
        logprobs_V = raw_V.log_softmax(dim=-1)
        best = logprobs_V.topk(self.top_logprobs) if self.top_logprobs else None
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else ()
        return Logprob(token, float(logprobs_V[token]), top, drawn)


def penalized(logits_V: Tensor, seen: set[int], penalty: float) -> Tensor:
    """Make the tokens in ``seen`` less likely: divide positive logits, multiply negative ones."""
    index = torch.tensor(sorted(seen), dtype=torch.long, device=logits_V.device)
    scores = logits_V[index]
    scores = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits_V.index_copy(0, index, scores)


def draw(logits_V: Tensor, sampling: SamplingOptions, uniform: float) -> tuple[int, float]:
    """Draw one token: temperature, min_p, top_k, top_p, then inverse transform sampling.

    Args:
        logits_V: Logits, float32.
        sampling: Sampling options; the temperature must be above 0.
        uniform: A random number in [0, 1).

    Returns:
        The token, and its log-probability in the distribution it was drawn from.
    """
    # Shifted first: with a tiny temperature, the highest score must not become infinite.
    scores_V = (logits_V - logits_V.max()) / sampling.temperature
    if sampling.min_p:  # the most likely token has score 0
        unlikely = scores_V < math.log(sampling.min_p)
        scores_V = scores_V.masked_fill(unlikely, -torch.inf)
    if sampling.top_k == 0 and sampling.top_p == 1:
        return _invert(scores_V.softmax(dim=-1), uniform)
    kept = min(sampling.top_k or len(scores_V), len(scores_V))
    if sampling.top_k:
        scores, ids = scores_V.topk(kept)
        log_total = scores.logsumexp(dim=-1)
    else:
        # Sorting the whole vocabulary costs more than the model's last layer: check the most
        # likely tokens first, and sort all of them only if those do not reach top_p.
        log_total = scores_V.logsumexp(dim=-1)
        scores, ids = scores_V.topk(min(TOP_P_FIRST_LOOK, len(scores_V)))
        if float((scores - log_total).exp().sum()) < sampling.top_p:
            scores, ids = scores_V.sort(descending=True)
    probabilities = (scores - log_total).exp()
    if sampling.top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        reached = int((before < sampling.top_p).sum())
        probabilities, ids = probabilities[: max(reached, 1)], ids[: max(reached, 1)]
    place, drawn = _invert(probabilities, uniform)
    return int(ids[place]), drawn


def _invert(probabilities: Tensor, uniform: float) -> tuple[int, float]:
    """Index where the cumulative sum passes ``uniform`` times the total; its log-probability."""
    running = probabilities.double().cumsum(dim=-1)
    index = int(torch.searchsorted(running, running[-1] * uniform, right=True))
    index = min(index, len(running) - 1)
    return index, float((probabilities[index].double() / running[-1]).log())
