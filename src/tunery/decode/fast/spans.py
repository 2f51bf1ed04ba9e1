"""Positions of a step's tokens in their sequences, and the attention of prompt tokens.

A prompt is read in blocks that end at multiples of ``BLOCK``, or at its end, regardless of the
pieces it arrives in; a block of one token is read like a generated token. The contents of a cache
thus depend on the tokens alone, not on the load of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tunery.decode.cache import BLOCK, KvRow
from tunery.decode.fast.weights import LayerWeights, Weights


@dataclass(slots=True)
class Part:
    """Tokens of one sequence to be read in this step.

    Args:
        row: The sequence's cache, which holds ``row.length`` tokens; the new ones are appended.
        ids: The tokens.
        adapter: The adapter active while reading; None for the base model.
        wanted: Number of tokens, counted from the last, whose logits are requested.
    """

    row: KvRow
    ids: Sequence[int]
    adapter: str | None = None
    wanted: int = 1


@dataclass(slots=True)
class Block:
    """Tokens ``first`` to ``last`` of a sequence, with their attention mask, [groups * T, last]."""

    first: int
    last: int
    mask: Tensor


class Span:
    """The position of a part's tokens: ``at`` in the step, ``start`` to ``end`` in the sequence.

    Args:
        part: The part; its row already has room for it.
        at: Its first row in the step.
        groups: Query heads per key-value head.
    """

    __slots__ = ("at", "blocks", "end", "last_alone", "row", "start", "wanted")

    def __init__(self, part: Part, at: int, groups: int) -> None:
        self.row, self.wanted, self.at = part.row, part.wanted, at
        self.start, self.end = part.row.length, part.row.length + len(part.ids)
        self.blocks: list[Block] = []
        first = self.start
        while self.end - first > 1:
            last = min((first // BLOCK + 1) * BLOCK, self.end)
            if last - first > 1:
                self.blocks.append(Block(first, last, _mask(first, last, groups, self.row)))
                first = last
            else:  # the last position of a block, read by itself
                break
        self.last_alone = first < self.end

    @property
    def last(self) -> int:
        """The row of the step that holds its last token."""
        return self.at + self.end - self.start - 1

    @property
    def asked(self) -> range:
        """The rows of the step whose logits are requested."""
        return range(self.last + 1 - self.wanted, self.last + 1)


def turn(qkv: Tensor, rope: tuple[Tensor, Tensor], layer: LayerWeights, weights: Weights) -> None:
    """Normalize queries and keys if the layer has norms, and apply rotary embeddings, in place.

    Args:
        qkv: [N, H + 2 K, D].
        rope: Cosines and signed sines, each [N, 1, D].
    """
    heads, kv_heads = weights.heads, weights.kv_heads
    if layer.q_norm is not None and layer.k_norm is not None:
        q, k = qkv[:, :heads], qkv[:, heads : heads + kv_heads]
        q.copy_(normed(q, layer.q_norm, weights.eps))
        k.copy_(normed(k, layer.k_norm, weights.eps))
    qk = qkv[:, : heads + kv_heads]
    turned = qk.unflatten(-1, (2, -1)).flip(-2).flatten(-2).mul_(rope[1])
    qk.mul_(rope[0]).add_(turned)


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dimension, with the rounding of transformers' modules."""
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True).add_(eps))
    return weight * (wide * scale).to(x.dtype)


def read_blocks(number: int, span: Span, qkv: Tensor, answer: Tensor, weights: Weights) -> None:
    """Write the keys and values of a span's blocks to its cache, and attend.

    Args:
        number: Index of the layer.
        qkv: All rows of the step, with rotary embeddings applied, [N, H + 2 K, D].
        answer: Output, filled in the rows of the blocks, [N, H * D].
    """
    kv, width, heads = weights.kv_heads, weights.head_dim, weights.heads
    groups = heads // kv
    cache = span.row.layers[number]
    for block in span.blocks:
        first, last = block.first, block.last
        at = span.at + first - span.start
        mine = qkv[at : at + last - first]
        cache[:, first:last] = mine[:, heads:].transpose(0, 1)
        query = mine[:, :heads].view(-1, kv, groups, width).permute(1, 2, 0, 3)
        query = query.reshape(1, kv, groups * (last - first), width)
        known = cache[:, :last].unsqueeze(0)
        found = F.scaled_dot_product_attention(
            query, known[:, :kv], known[:, kv:], attn_mask=block.mask
        )
        found = found.view(kv, groups, last - first, width).permute(2, 0, 1, 3)
        answer[at : at + last - first] = found.reshape(last - first, -1)


def _mask(first: int, last: int, groups: int, row: KvRow) -> Tensor:
    device = row.shape.device
    query = torch.arange(first, last, device=device)[:, None]
    mask = torch.arange(last, device=device)[None] <= query
    return mask.repeat(groups, 1)
