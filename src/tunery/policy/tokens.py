"""What a model says about each trained token, beyond its log-probability.

These values need the whole distribution over the vocabulary. The logits exist for a few positions
at a time, and are computed again in the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunery.data.collate import Batch
from tunery.policy.forward import OWN_HEAD_CHUNK, divided, own_logits
from tunery.policy.shortcuts import decode, project, shortcuts

Before = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compute besides the negative log-likelihood.

    Args:
        uniform: ``Tokens.uniform_K``.
        top_k: Tokens over which ``Tokens.entropy_K`` is taken; 0 omits it.
        kl: ``Tokens.kl_K``.
        log_z: ``Tokens.log_z_K``.
    """

    uniform: bool = False
    top_k: int = 0
    kl: bool = False
    log_z: bool = False

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
        log_z_K: Logarithm of the sum of the exponentials of the logits.
    """

    nll_K: Tensor
    uniform_K: Tensor
    entropy_K: Tensor
    kl_K: Tensor
    log_z_K: Tensor


def values(logits_CV: Tensor, target_C: Tensor, before_CV: Tensor | None, wanted: Wanted) -> Tensor:
    """The values of ``Tokens``, in order; those that are not wanted are 0.

    Args:
        logits_CV: Current logits. Shape ``[C, V]``.
        target_C: The tokens. int64.
        before_CV: Logits of the model before training; needed for ``kl``.
        wanted: What to compute.

    Returns:
        Shape ``[5, C]``.
    """
    logprobs_CV = logits_CV.log_softmax(-1)
    nll_C = -logprobs_CV.gather(1, target_C[:, None])[:, 0]
    none_C = torch.zeros_like(nll_C).detach()
    uniform_C = -logprobs_CV.mean(-1) if wanted.uniform else none_C
    entropy_C = top_entropy(logits_CV.detach(), wanted.top_k) if wanted.top_k else none_C
    kl_C = none_C
    if wanted.kl:
        assert before_CV is not None
        kl_C = kl_from(before_CV.detach().log_softmax(-1), logprobs_CV)
    log_z_C = logits_CV.logsumexp(-1) if wanted.log_z else none_C
    return torch.stack([nll_C, uniform_C, entropy_C, kl_C, log_z_C])


def top_entropy(logits_CV: Tensor, count: int) -> Tensor:
    """Entropy among the ``count`` most probable tokens, divided by log(count). Shape ``[C]``."""
    count = min(count, logits_CV.shape[-1])
    logprobs_CK = logits_CV.topk(count, dim=-1).values.log_softmax(-1)
    entropy_C = -(logprobs_CK.exp() * logprobs_CK).sum(-1)
    return (entropy_C / math.log(count)).clamp(0, 1)


def kl_from(before_CV: Tensor, logprobs_CV: Tensor) -> Tensor:
    """KL(before || current) of log-probabilities: sum of q (log q - log p). Shape ``[C]``, nats."""
    return (before_CV.exp() * (before_CV - logprobs_CV)).sum(-1)


def tokens(base: nn.Module, batch: Batch, wanted: Wanted, before: Before | None) -> Tokens:
    """Compute the values of a batch's trained tokens.

    Args:
        base: A causal language model of transformers, not wrapped.
        batch: The output of ``collate``, on the model's device.
        wanted: What to compute.
        before: Returns the model to its state before training while active; for ``kl``.
    """
    parts = [_part(base, part, wanted, before) for part in divided(base, batch)]
    return Tokens(*torch.cat(parts, dim=1))


def _part(base: nn.Module, batch: Batch, wanted: Wanted, before: Before | None) -> Tensor:
    packed, head = len(batch.lengths) > 1, shortcuts(base).head
    kl = before if wanted.kl else None
    plain = replace(batch, noise=0.0)
    index_K, target_K = batch.trained_index_K, batch.target_ids_K
    if head is None:
        earlier_KV = None
        if kl is not None:
            with kl():
                earlier_KV = own_logits(base, plain, packed=packed)
        logits_KV = own_logits(base, batch, packed=packed)
        return values(logits_KV, target_K, earlier_KV, wanted)
    earlier_KD = None
    if kl is not None:
        with kl():
            earlier_KD = decode(base, plain, packed=packed).index_select(0, index_K)
    hidden_ND = decode(base, batch, packed=packed)
    hidden_KD = hidden_ND.index_select(0, index_K)

    def chunk(hidden_CD: Tensor, target_C: Tensor, earlier_CD: Tensor | None) -> Tensor:
        earlier_CV = None
        if kl is not None:
            assert earlier_CD is not None
            with kl():
                earlier_CV = project(base, earlier_CD, head).float()
        return values(project(base, hidden_CD, head).float(), target_C, earlier_CV, wanted)

    found: list[Tensor] = []
    for start in range(0, batch.num_trained, OWN_HEAD_CHUNK):
        part = slice(start, start + OWN_HEAD_CHUNK)
        earlier_CD = None if earlier_KD is None else earlier_KD[part]
        found.append(
            checkpoint(chunk, hidden_KD[part], target_K[part], earlier_CD, use_reentrant=False)
        )
    if not found:  # a graph, even if nothing is trained
        return hidden_ND.sum(dtype=torch.float32).expand(5, 1)[:, :0]
    return torch.cat(found, dim=1)
