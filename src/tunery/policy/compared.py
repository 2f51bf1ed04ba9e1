"""Read the distribution over the next token at each trained token of a batch, of one or two models.

The logits exist for a few positions at a time, and are computed again in the backward pass.

Shapes: K trained tokens, C positions of a chunk, D width, V vocabulary, R values per token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunery.data.collate import Batch
from tunery.policy.forward import OWN_HEAD_CHUNK, divided, own_logits
from tunery.policy.shortcuts import decode, project, shortcuts

Compare = Callable[..., Tensor]
"""Takes the logits of both models ``[C, V]`` (or one and None), the tokens ``[C]`` and what else is
given about them; returns values ``[R, C]``."""


@dataclass(frozen=True, slots=True)
class Other:
    """What a model is compared with: another one, or its own state before training.

    Args:
        base: A causal language model of transformers, not wrapped; in eval mode if it is another.
        state: Active while it is read.
    """

    base: nn.Module
    state: Callable[[], AbstractContextManager[Any]] = nullcontext


def compared(
    base: nn.Module,
    other: Other | None,
    batch: Batch,
    compare: Compare,
    given: Sequence[Tensor] = (),
) -> Tensor:
    """Values of each trained token, from the distributions of one or two models.

    Logits beyond the smaller of the two vocabularies are left out: embeddings are often padded to
    a round number of rows, which no token uses.

    Args:
        base: The model that is trained: a causal language model of transformers, not wrapped.
        other: The model to compare with, which gets no gradient and no noise; None for none.
        batch: The output of ``collate``, on the device of both.
        compare: Computes the values; it is called again in the backward pass.
        given: Further values of the trained tokens, passed on to ``compare``. Shape ``[K, ...]``.

    Returns:
        Shape ``[R, K]``, fp32, differentiable in the weights of ``base``.
    """
    other_KX = None
    if other is not None:
        with torch.no_grad(), other.state():
            other_KX = _last(other.base, replace(batch, noise=0.0))
    own_KX = _last(base, batch)

    def chunk(
        own_CX: Tensor, other_CX: Tensor | None, target_C: Tensor, *given_C: Tensor
    ) -> Tensor:
        own_CV = _logits(base, own_CX)
        if other is None or other_CX is None:
            return compare(own_CV, None, target_C, *given_C)
        with torch.no_grad(), other.state():
            theirs_CV = _logits(other.base, other_CX)
        size = min(own_CV.shape[-1], theirs_CV.shape[-1])
        return compare(own_CV[:, :size], theirs_CV[:, :size], target_C, *given_C)

    found: list[Tensor] = []
    for start in range(0, max(1, batch.num_trained), OWN_HEAD_CHUNK):  # once, even without tokens
        part = slice(start, start + OWN_HEAD_CHUNK)
        theirs = None if other_KX is None else other_KX[part]
        known = (own_KX[part], theirs, batch.target_ids_K[part], *(each[part] for each in given))
        if torch.is_grad_enabled():
            found.append(checkpoint(chunk, *known, use_reentrant=False))
        else:
            found.append(chunk(*known))
    return torch.cat(found, dim=1)


def _last(base: nn.Module, batch: Batch) -> Tensor:
    """What the logits follow from at each trained token: hidden states, or the logits themselves.

    Returns:
        Shape ``[K, D]``, or ``[K, V]`` for a model whose own head must be used.
    """
    head, found = shortcuts(base).head, list[Tensor]()
    for part in divided(base, batch):
        packed = len(part.lengths) > 1
        found.append(
            own_logits(base, part, packed=packed)
            if head is None
            else decode(base, part, packed=packed).index_select(0, part.trained_index_K)
        )
    return torch.cat(found)


def _logits(base: nn.Module, last_CX: Tensor) -> Tensor:
    head = shortcuts(base).head
    return last_CX if head is None else project(base, last_CX, head).float()
