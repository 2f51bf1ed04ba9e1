"""Attention of a packed batch as product, softmax, product, bucket by bucket.

``attend`` is one autograd function over all buckets: it keeps queries, keys and values and (for
short rows) the weights, gathers each bucket's rows directly into the layout the products need and
adds up the gradients of shared ancestors. Queries of heads that share a key head are folded into
rows of one product, so keys and values are never repeated. ``attend_any`` is the same in plain
autograd operations, for soft caps, attention sinks and dropout.

Shapes: N tokens; H query heads, G key heads, M = H / G; D width of a query or key, E of a value;
for a bucket S segments, T queries, C shared keys, U = C + T keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunery.kernels.segments import Block, Bucket, Layout, Segments

# Queries computed together. Beyond this, the part of the scores above the diagonal costs more than
# the smaller products save (measured in benchmarks/kernel_speed.py).
BLOCK = 96

# Weights are kept for the backward pass up to this many keys per query, otherwise recomputed:
# compared with a layer's other activations (some 10 KB per token), they take H * U * 2 bytes per
# token.
KEEP_KEYS = 256


@dataclass(frozen=True, slots=True)
class Score:
    """How scores become attention weights.

    Args:
        scale: Factor on query times key.
        window: A query attends to this many keys, itself included; None for all preceding ones.
        softcap: Scores become ``softcap * tanh(score / softcap)`` (Gemma 2).
        sinks_H: One more logit per head that takes weight and contributes nothing (gpt-oss).
        dropout: Fraction of weights set to zero.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks_H: Tensor | None = None
    dropout: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether there is nothing but scale, causality and window."""
        return self.softcap is None and self.sinks_H is None and not self.dropout


def attend(
    query_NHD: Tensor, key_NGD: Tensor, value_NGE: Tensor, segments: Segments, score: Score
) -> Tensor:
    """Attention of each token over its row. Returns ``[N, H, E]`` in the dtype of the values."""
    if not score.plain:
        return attend_any(query_NHD, key_NGD, value_NGE, segments, score)
    return _Attend.apply(  # pyright: ignore[reportReturnType]
        query_NHD, key_NGD, value_NGE, segments, score.scale, score.window
    )


def attend_any(
    query_NHD: Tensor, key_NGD: Tensor, value_NGE: Tensor, segments: Segments, score: Score
) -> Tensor:
    """``attend`` for all score options, also differentiable in the sinks."""
    heads, key_heads = query_NHD.shape[1], key_NGD.shape[1]
    layout = segments.layout(heads, key_heads)
    query, key, value = (tensor.flatten(0, 1) for tensor in (query_NHD, key_NGD, value_NGE))
    outs: list[Tensor] = []
    for i, bucket in enumerate(segments.buckets()):
        shape = (bucket.size, key_heads, heads // key_heads, bucket.longest)
        query_b = query.index_select(0, layout.query_rows[i])
        query_b = query_b.view(shape[0] * shape[1], -1, query.shape[1])
        key_b = _rows(key, layout.key_rows[i], bucket)
        scores = (query_b @ key_b.transpose(1, 2)).view(*shape, -1).float() * score.scale
        if score.softcap is not None:
            scores = torch.tanh(scores / score.softcap) * score.softcap
        scores = scores + bucket.mask(score.window, torch.float32)
        if score.sinks_H is not None:
            sinks = score.sinks_H.float().view(key_heads, -1, 1, 1).expand(*shape, 1)
            weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
        else:
            weights = scores.softmax(-1)
        weights = nn.functional.dropout(weights.to(value.dtype), score.dropout)
        weights = weights.view(shape[0] * shape[1], -1, bucket.num_keys)
        outs.append((weights @ _rows(value, layout.key_rows[i], bucket)).flatten(0, 1))
    out = torch.cat(outs).index_select(0, layout.query_back)
    return out.view(len(query_NHD), heads, -1)


def _rows(tensor: Tensor, rows: Tensor, bucket: Bucket) -> Tensor:
    return tensor.index_select(0, rows).view(-1, bucket.num_keys, tensor.shape[1])


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_NHD: Tensor,
        key_NGD: Tensor,
        value_NGE: Tensor,
        segments: Segments,
        scale: float,
        window: int | None,
    ) -> Tensor:
        heads = (query_NHD.shape[1], key_NGD.shape[1])
        joined = tuple(t.reshape(-1, t.shape[2]) for t in (query_NHD, key_NGD, value_NGE))
        layout = segments.layout(*heads)
        needs_grad = any(ctx.needs_input_grad[:3])
        outs: list[Tensor] = []
        kept: list[Tensor] = []
        for i, bucket in enumerate(segments.buckets()):
            query, key, value = _gather(joined, layout, i, bucket)
            parts: list[Tensor] = []
            for block in bucket.blocks(BLOCK, window, query.dtype):
                weights = _weights(block, query[:, :, block.queries], key[:, block.keys], scale)
                part = weights @ value[:, block.keys]
                parts.append(part.unflatten(1, (query.shape[1], -1)))
                if needs_grad and bucket.num_keys <= KEEP_KEYS:
                    kept.append(weights)
            outs.append(_join(parts, 2).flatten(0, 2))
        ctx.save_for_backward(*joined, *kept)
        ctx.segments, ctx.scale, ctx.window, ctx.heads = segments, scale, window, heads
        out = _join(outs).index_select(0, layout.query_back)
        # Not a view, so that a model may change it in place.
        return torch.ops.aten._unsafe_view(out, (len(query_NHD), heads[0], out.shape[-1]))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        # Read once: under checkpointing, each read recomputes the tensors.
        first, second, third, *kept = ctx.saved_tensors
        joined = (first, second, third)
        segments: Segments = ctx.segments
        layout = segments.layout(*ctx.heads)
        grad_out = grad_outputs[0].reshape(-1, joined[2].shape[1])
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for i, bucket in enumerate(segments.buckets()):
            rows = _gather(joined, layout, i, bucket)
            grad = grad_out.index_select(0, layout.query_rows[i])
            if layout.padding[i] is not None:  # a repeated token must not count twice
                grad.index_fill_(0, layout.padding[i], 0.0)
            blocks = bucket.blocks(BLOCK, ctx.window, grad.dtype)
            weights = [kept.pop(0) for _ in blocks] if bucket.num_keys <= KEEP_KEYS else None
            grad = grad.view(*rows[0].shape[:3], -1)
            found.append(_backward(blocks, rows, grad, weights, ctx.scale))
        grads_q, grads_k, grads_v = ([grads[n] for grads in found] for n in range(3))
        grad_q = _join([grad.flatten(0, 2) for grad in grads_q]).index_select(0, layout.query_back)
        return (
            grad_q.view(segments.starts[-1], ctx.heads[0], -1),
            _collect(grads_k, segments, layout, ctx.heads[1]),
            _collect(grads_v, segments, layout, ctx.heads[1]),
            None,
            None,
            None,
        )


def _gather(
    joined: Sequence[Tensor], layout: Layout, number: int, bucket: Bucket
) -> tuple[Tensor, Tensor, Tensor]:
    """A bucket's queries ``[S * G, M, T, D]``, keys ``[S * G, U, D]`` and values."""
    query, key, value = joined
    key_rows = layout.key_rows[number]
    pairs = len(key_rows) // bucket.num_keys
    query_b = query.index_select(0, layout.query_rows[number])
    return (
        query_b.view(pairs, -1, bucket.longest, query.shape[1]),
        _rows(key, key_rows, bucket),
        _rows(value, key_rows, bucket),
    )


def _weights(block: Block, query: Tensor, key: Tensor, scale: float) -> Tensor:
    folded = query.flatten(1, 2)
    mask = block.mask.repeat(query.shape[1], 1).expand(len(query), -1, -1)
    scores = torch.baddbmm(mask, folded, key.transpose(1, 2), alpha=scale)
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype)


def _backward(
    blocks: Sequence[Block],
    rows: tuple[Tensor, Tensor, Tensor],
    grad: Tensor,
    kept: Sequence[Tensor] | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = rows
    grads_q: list[Tensor] = []
    grad_k = grad_v = None
    for number, block in enumerate(blocks):
        query_b, key_b = query[:, :, block.queries], key[:, block.keys]
        weights = kept[number] if kept is not None else _weights(block, query_b, key_b, scale)
        folded, grad_b = query_b.flatten(1, 2), grad[:, :, block.queries].flatten(1, 2)
        back = grad_b @ value[:, block.keys].transpose(1, 2)
        back = torch._softmax_backward_data(back, weights, -1, back.dtype).mul_(scale)
        grads_q.append((back @ key_b).view(query_b.shape))
        part_k, part_v = back.transpose(1, 2) @ folded, weights.transpose(1, 2) @ grad_b
        if len(blocks) == 1 and part_k.shape == key.shape:  # a window may exclude keys
            return grads_q[0], part_k, part_v
        if grad_k is None or grad_v is None:
            grad_k, grad_v = (torch.zeros_like(t, dtype=torch.float32) for t in (key, value))
        grad_k[:, block.keys] += part_k
        grad_v[:, block.keys] += part_v
    assert grad_k is not None
    assert grad_v is not None
    return _join(grads_q, 2), grad_k.to(key.dtype), grad_v.to(value.dtype)


def _collect(grads: Sequence[Tensor], segments: Segments, layout: Layout, key_heads: int) -> Tensor:
    """The gradient of each key: from its own segment, and from all segments that share it."""
    own = _join([grad.flatten(0, 1) for grad in grads]).index_select(0, layout.key_back)
    own = own.view(segments.starts[-1], key_heads, -1)
    for bucket, grad in zip(segments.buckets(), grads, strict=True):
        shared = len(bucket.context)
        if shared:
            part = grad.unflatten(0, (bucket.size, key_heads))[:, :, :shared]
            total = part.sum(0, dtype=torch.float32).transpose(0, 1)
            own.index_add_(0, bucket.context, total.to(own.dtype))
    return own


def _join(parts: list[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
