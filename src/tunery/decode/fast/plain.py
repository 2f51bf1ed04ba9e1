"""Layers of the fast pass with torch's operations, using as few as possible.

The tokens of all sequences go through each linear layer together, on a CPU from oneDNN's blocked
copies; attention reads each sequence's cache once for all query heads of a group. A row's result is
independent of the rest of the batch: linear layers run with at least two rows, because only the
product of a single row is summed in a different order.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from tunery.decode.fast.lora import ActiveLora
from tunery.decode.fast.spans import Span, normed, read_blocks, turn
from tunery.decode.fast.weights import LayerWeights, Linear, Weights
from tunery.decode.prepack import fits, pack, packed_linear, supported


class _Product:
    def __init__(self, linear: Linear, *, packed: bool) -> None:
        self.bias = linear.bias
        self._packed = packed
        self._weight = pack(linear.weight) if packed else linear.weight

    def __call__(self, x: Tensor) -> Tensor:
        """``x @ weight.T + bias``."""
        if self._packed:
            return packed_linear(self._weight, self.bias, x)
        return F.linear(x, self._weight, self.bias)


class _Layer:
    def __init__(self, layer: LayerWeights, *, packed: bool) -> None:
        self.weights = layer
        self.qkv, self.out = (_Product(x, packed=packed) for x in (layer.qkv, layer.out))
        self.gate_up, self.down = (_Product(x, packed=packed) for x in (layer.gate_up, layer.down))


class TorchLayers:
    """Decoder layers and head.

    Args:
        weights: The model's weights.
    """

    min_rows = 2

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        dtype, device = weights.embedding.dtype, weights.embedding.device
        self.row_bits = device.type == "cpu" and supported(dtype) and fits(weights.num_bytes)
        self._layers = [_Layer(layer, packed=self.row_bits) for layer in weights.layers]
        self._head = _Product(weights.head, packed=self.row_bits)

    def forward(
        self,
        index: Tensor,
        rope: tuple[Tensor, Tensor],
        spans: Sequence[Span],
        active: Sequence[ActiveLora],
    ) -> Tensor:
        """Run the forward pass of one step.

        Args:
            index: Token ids and their positions, [2, N], N at least ``min_rows``.
            rope: Cosines and signed sines of all positions, each [positions, 1, D].
            spans: Spans of the parts; their caches are written.
            active: The active adapters.

        Returns:
            Logits of the requested tokens, in order, [asked, V].
        """
        x_NW = F.embedding(index[0], self.weights.embedding)
        turns = rope[0][index[1]], rope[1][index[1]]
        for number, layer in enumerate(self._layers):
            self._block(number, layer, x_NW, turns, spans, active)
        lasts = [row for span in spans for row in span.asked]
        if not lasts:
            return x_NW.new_empty(0, len(self.weights.embedding))
        rows = lasts if len(lasts) >= self.min_rows else lasts * self.min_rows
        chosen = x_NW[rows] if rows != list(range(len(x_NW))) else x_NW
        return self._head(normed(chosen, self.weights.norm, self.weights.eps))[: len(lasts)]

    def _block(
        self,
        number: int,
        layer: _Layer,
        x_NW: Tensor,
        rope: tuple[Tensor, Tensor],
        spans: Sequence[Span],
        active: Sequence[ActiveLora],
    ) -> None:
        """Run one decoder layer; its result is added to ``x_NW`` in place."""
        weights = self.weights
        h = normed(x_NW, layer.weights.norm, weights.eps)
        qkv = layer.qkv(h)
        for lora in active:
            lora.add(number, "qkv", h, qkv)
        qkv = qkv.view(len(x_NW), -1, weights.head_dim)
        turn(qkv, rope, layer.weights, weights)
        answer = self._attend(number, qkv, spans)
        out = layer.out(answer)
        for lora in active:
            lora.add(number, "out", answer, out)
        x_NW.add_(out)
        h = normed(x_NW, layer.weights.norm_mlp, weights.eps)
        both = layer.gate_up(h)
        for lora in active:
            lora.add(number, "gate_up", h, both)
        gate, up = both.chunk(2, dim=-1)
        inner = F.silu(gate).mul_(up)
        down = layer.down(inner)
        for lora in active:
            lora.add(number, "down", inner, down)
        x_NW.add_(down)

    def _attend(self, number: int, qkv: Tensor, spans: Sequence[Span]) -> Tensor:
        """Write keys and values, attend, and return the concatenated heads, [N, H * D]."""
        weights = self.weights
        kv, heads, width = weights.kv_heads, weights.heads, weights.head_dim
        answer = qkv.new_zeros(len(qkv), heads * width)
        for span in spans:
            read_blocks(number, span, qkv, answer, weights)
            if span.last_alone:
                cache = span.row.layers[number]
                mine = qkv[span.last]
                cache[:, span.end - 1] = mine[heads:]
                known = cache[:, : span.end].unsqueeze(0)
                query = mine[:heads].view(1, kv, heads // kv, width)
                found = F.scaled_dot_product_attention(query, known[:, :kv], known[:, kv:])
                answer[span.last] = found.view(-1)
        return answer
