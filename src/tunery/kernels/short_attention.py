"""Attention as product, softmax, product: exact for every score rule, fast for short rows.

Shapes: S segments, H query heads, G key heads, T queries, U keys, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Score:
    """How scores become attention weights.

    Args:
        scale: Factor on query times key.
        window: A query sees this many keys, itself included; None for all before it.
        softcap: Scores become ``softcap * tanh(score / softcap)``.
        sinks_H: One more logit a head that takes weight and gives nothing (gpt-oss).
        dropout: Share of weights set to zero.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks_H: Tensor | None = None
    dropout: float = 0.0

    @property
    def plain(self) -> bool:
        """Nothing but scale and the causal mask."""
        return self.window is None and self.softcap is None and self.sinks_H is None


def attend(
    query_SHTD: Tensor, key_SGUD: Tensor, value_SGUD: Tensor, allowed: Tensor, score: Score
) -> Tensor:
    """Attention of ``[S, H, T, D]`` queries, differentiable by autograd.

    Args:
        query_SHTD: Queries.
        key_SGUD: Keys; H is a multiple of G.
        value_SGUD: Values.
        allowed: True (or 0 in a float mask) where a query sees a key; broadcast to
            ``[S, H, T, U]``.
        score: The score rule; its window is expected in ``allowed`` already.

    Returns:
        Shape ``[S, H, T, Dv]``, in the dtype of the values.
    """
    size, heads, num_queries, _ = query_SHTD.shape
    key_heads = key_SGUD.shape[1]
    groups = heads // key_heads
    folded = query_SHTD.reshape(size, key_heads, groups * num_queries, -1)
    scores = (folded @ key_SGUD.transpose(-1, -2)).view(size, heads, num_queries, -1).float()
    scores = scores * score.scale
    if score.softcap is not None:
        scores = torch.tanh(scores / score.softcap) * score.softcap
    if allowed.dtype == torch.bool:
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    else:
        scores = scores + allowed
    if score.sinks_H is not None:
        sinks = score.sinks_H.float().view(1, heads, 1, 1).expand(size, heads, num_queries, 1)
        weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    weights = weights.to(value_SGUD.dtype)
    if score.dropout:
        weights = nn.functional.dropout(weights, score.dropout)
    out = weights.reshape(size, key_heads, groups * num_queries, -1) @ value_SGUD
    return out.view(size, heads, num_queries, -1)
