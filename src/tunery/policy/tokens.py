"""What a model says about each trained token, beyond its log-probability.

These values need the whole distribution over the vocabulary; see ``policy.compared``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunery.data.collate import Batch
from tunery.policy.compared import Other, compared

Before = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compute besides the negative log-likelihood.

    Args:
        uniform: ``Tokens.uniform_K``.
        top_k: Tokens over which ``Tokens.entropy_K`` is taken; 0 omits it.
        kl: ``Tokens.kl_K``.
    """

    uniform: bool = False
    top_k: int = 0
    kl: bool = False

    @property
    def anything(self) -> bool:
        """Whether anything needs the whole distribution."""
        return self != Wanted()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Values of the trained tokens, differentiable unless stated. Shape ``[K]`` each, fp32.

    Attributes:
        nll_K: -log p of the token, in nats.
        uniform_K: Mean of -log p over the vocabulary, in nats.
        entropy_K: Entropy of the most probable tokens alone, divided by its maximum: 0 to 1,
            without a graph.
        kl_K: KL divergence of the model before training from the current one, in nats.
    """

    nll_K: Tensor
    uniform_K: Tensor
    entropy_K: Tensor
    kl_K: Tensor


def values(logits_CV: Tensor, target_C: Tensor, before_CV: Tensor | None, wanted: Wanted) -> Tensor:
    """The values of ``Tokens``, in order; those that are not wanted are 0.

    Args:
        logits_CV: Current logits. Shape ``[C, V]``.
        target_C: The tokens. int64.
        before_CV: Logits of the model before training; needed for ``kl``.
        wanted: What to compute.

    Returns:
        Shape ``[4, C]``.
    """
    logprobs_CV = logits_CV.log_softmax(-1)
    nll_C = -logprobs_CV.gather(1, target_C[:, None])[:, 0]
    none_C = torch.zeros_like(nll_C).detach()
    uniform_C = -logprobs_CV.mean(-1) if wanted.uniform else none_C
    entropy_C = top_entropy(logits_CV.detach(), wanted.top_k) if wanted.top_k else none_C
    kl_C = none_C
    if wanted.kl:
        assert before_CV is not None
        kl_C = kl(before_CV.log_softmax(-1), logprobs_CV)
    return torch.stack([nll_C, uniform_C, entropy_C, kl_C])


def top_entropy(logits_CV: Tensor, count: int) -> Tensor:
    """Entropy among the ``count`` most probable tokens, divided by log(count). Shape ``[C]``."""
    count = min(count, logits_CV.shape[-1])
    logprobs_CK = logits_CV.topk(count, dim=-1).values.log_softmax(-1)
    entropy_C = -(logprobs_CK.exp() * logprobs_CK).sum(-1)
    return (entropy_C / math.log(count)).clamp(0, 1)


def kl(left_CV: Tensor, right_CV: Tensor) -> Tensor:
    """KL(left || right) of log-probabilities: sum of p (log p - log q). Shape ``[C]``, nats."""
    return (left_CV.exp() * (left_CV - right_CV)).sum(-1)


def tokens(base: nn.Module, batch: Batch, wanted: Wanted, before: Before | None) -> Tokens:
    """Compute the values of a batch's trained tokens.

    Args:
        base: A causal language model of transformers, not wrapped.
        batch: The output of ``collate``, on the model's device.
        wanted: What to compute.
        before: Returns the model to its state before training while active; for ``kl``.
    """
    other = None
    if wanted.kl:
        assert before is not None
        other = Other(base, before)

    def compare(own_CV: Tensor, before_CV: Tensor | None, target_C: Tensor) -> Tensor:
        return values(own_CV, target_C, before_CV, wanted)

    return Tokens(*compared(base, other, batch, compare))
