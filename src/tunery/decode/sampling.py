"""How the next token is chosen from the logits: greedily, or drawn with a seed.

A row's random numbers come from its own seed and position alone, so that the same request gives
the same answer whichever rows share its batch. Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from tunery.decode.options import Sampling

TOP_P_FIRST_LOOK = 256


class Chooser:
    """Chooses the next token of every row of a batch.

    Args:
        samplings: One a row.
        prompts: The rows' token ids, which the repetition penalty counts.
    """

    def __init__(self, samplings: Sequence[Sampling], prompts: Sequence[Sequence[int]]) -> None:
        self.samplings = list(samplings)
        self._random = [random.Random(sampling.seed) for sampling in samplings]
        self._seen = [
            set(prompt) if sampling.repetition_penalty != 1 else None
            for sampling, prompt in zip(samplings, prompts, strict=True)
        ]
        self._plain = all(s.greedy and s.repetition_penalty == 1 for s in samplings)

    def choose(self, logits_BV: Tensor, rows: Sequence[int]) -> Tensor:
        """Choose one token a row.

        Args:
            logits_BV: Scores of the next token; not changed.
            rows: Which of the chooser's rows each line of ``logits_BV`` is.

        Returns:
            Token ids, shape ``[B]``, int64, on the device of the logits.
        """
        if self._plain:
            return logits_BV.argmax(dim=-1)
        chosen = [self._one(logits, row) for logits, row in zip(logits_BV, rows, strict=True)]
        return torch.tensor(chosen, dtype=torch.long, device=logits_BV.device)

    def _one(self, logits_V: Tensor, row: int) -> int:
        sampling, seen = self.samplings[row], self._seen[row]
        logits_V = logits_V.float()
        if seen is not None:
            logits_V = penalized(logits_V, seen, sampling.repetition_penalty)
        if sampling.greedy:
            token = int(logits_V.argmax())
        else:
            token = draw(logits_V, sampling, self._random[row].random())
        if seen is not None:
            seen.add(token)
        return token


def penalized(logits_V: Tensor, seen: set[int], penalty: float) -> Tensor:
    """Make the tokens in ``seen`` less likely: divide positive logits, multiply negative ones."""
    index = torch.tensor(sorted(seen), dtype=torch.long, device=logits_V.device)
    scores = logits_V[index]
    scores = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits_V.index_copy(0, index, scores)


def draw(logits_V: Tensor, sampling: Sampling, uniform: float) -> int:
    """Draw one token: temperature, then top_k, then top_p, then the inverse of the distribution.

    Args:
        logits_V: Scores, float32.
        sampling: Its temperature must be above 0.
        uniform: A random number in [0, 1).
    """
    # Shifted first: a tiny temperature must not turn the best score into infinity.
    scores_V = (logits_V - logits_V.max()) / sampling.temperature
    if sampling.top_k == 0 and sampling.top_p == 1:
        return _invert(scores_V.softmax(dim=-1), uniform)
    kept = min(sampling.top_k or len(scores_V), len(scores_V))
    if sampling.top_k:
        scores, ids = scores_V.topk(kept)
        log_total = scores.logsumexp(dim=-1)
    else:
        # A whole sort of the vocabulary costs more than the model's last layer: look at the
        # most likely tokens first and sort all only if they do not reach top_p.
        log_total = scores_V.logsumexp(dim=-1)
        scores, ids = scores_V.topk(min(TOP_P_FIRST_LOOK, len(scores_V)))
        if float((scores - log_total).exp().sum()) < sampling.top_p:
            scores, ids = scores_V.sort(descending=True)
    probabilities = (scores - log_total).exp()
    if sampling.top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        reached = int((before < sampling.top_p).sum())
        probabilities, ids = probabilities[: max(reached, 1)], ids[: max(reached, 1)]
    return int(ids[_invert(probabilities, uniform)])


def _invert(probabilities: Tensor, uniform: float) -> int:
    """Index at which the running sum passes ``uniform`` of the whole."""
    running = probabilities.double().cumsum(dim=-1)
    index = int(torch.searchsorted(running, running[-1] * uniform, right=True))
    return min(index, len(running) - 1)
