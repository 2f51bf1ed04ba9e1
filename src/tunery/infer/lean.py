"""The forward pass of llama-like models in as few operations as possible, over many sequences.

A step of decoding on a CPU is memory traffic and the cost of calling operations; transformers'
layers call about twice as many as are needed, and read keys and values once a query head. Here the
tokens of all sequences go through each linear layer together, q, k and v in one product and gate
and up in one, from oneDNN's blocked copies; attention reads each sequence's cache once for all
query heads of a group. Roundings are those of transformers' modules. Every row's result is the same
whoever shares the batch: linear layers run with at least two rows, because only the product of a
single row sums in another order.

Used only for classes listed in ``KINDS`` whose settings are all understood, and after a probe
against the module itself (``matches``). Shapes: N tokens of all sequences, W width, H heads, K
key-value heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunery.infer.kvcache import BLOCK, CacheShape, KvRow
from tunery.infer.lean_lora import LoraLayers
from tunery.infer.prepack import fits, pack, packed_linear, supported

KINDS = {
    "LlamaForCausalLM": "LlamaDecoderLayer",
    "MistralForCausalLM": "MistralDecoderLayer",
    "Qwen2ForCausalLM": "Qwen2DecoderLayer",
    "Qwen3ForCausalLM": "Qwen3DecoderLayer",
}
MIN_ROWS = 2
PROBE_TOKENS = 12


@dataclass(slots=True)
class Part:
    """Some tokens of one sequence to be read in this step.

    Args:
        row: Its cache; ``row.length`` tokens stand in it before, and these after them.
        ids: The tokens.
        adapter: The adapter worn while reading; None for the bare base.
        wanted: Whether the logits after the last one are asked for.
    """

    row: KvRow
    ids: Sequence[int]
    adapter: str | None = None
    wanted: bool = True


class Product:
    """One linear layer, or several on the same input side by side."""

    def __init__(self, layers: Sequence[nn.Linear], *, packed: bool) -> None:
        weights = [layer.weight.detach() for layer in layers]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [layer.bias for layer in layers]
        self.sizes = [len(weight) for weight in weights]
        self.bias = torch.cat([b.detach() for b in biases]) if biases[0] is not None else None
        self._packed = packed
        self._weight = pack(weight) if packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        """``x @ weight.T + bias``."""
        if self._packed:
            return packed_linear(self._weight, self.bias, x)
        return F.linear(x, self._weight, self.bias)


@dataclass(slots=True)
class _Layer:
    norm: Tensor
    qkv: Product
    out: Product
    norm_mlp: Tensor
    gate_up: Product
    down: Product
    q_norm: Tensor | None
    k_norm: Tensor | None


class LeanModel:
    """A llama-like model ready to read parts of sequences.

    Args:
        model: A model for which ``understood`` holds; its weights must not change.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self.model = model
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.groups = self.heads // self.kv_heads
        self.eps = config.rms_norm_eps
        self.embedding = model.model.embed_tokens.weight.detach()
        self.dtype = self.embedding.dtype
        self.device = str(self.embedding.device)
        self.shape = CacheShape(
            config.num_hidden_layers, self.kv_heads, self.head_dim, self.dtype, self.device
        )
        linears = [m for m in model.modules() if type(m) is nn.Linear]
        packed = (
            self.device == "cpu"
            and supported(self.dtype)
            and fits(sum(m.weight.nbytes for m in linears))
        )
        self.layers = [_layer(layer, packed=packed) for layer in model.model.layers]
        self.norm = model.model.norm.weight.detach()
        self.head = Product([model.lm_head], packed=packed)
        self.packed = packed
        self.adapters: dict[str, LoraLayers] = {}
        self._cos = self._sin = torch.empty(0)
        self._rope(FIRST_POSITIONS)

    def new_row(self) -> KvRow:
        """An empty cache for one sequence."""
        return KvRow(self.shape)

    @torch.inference_mode()
    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Read the parts; their rows grow.

        Returns:
            Logits after the last token of each part that wants them, in order, [parts, V].
        """
        ids = [token for part in parts for token in part.ids]
        places = [p for x in parts for p in range(x.row.length, x.row.length + len(x.ids))]
        spare = max(0, MIN_ROWS - len(ids))
        ids += [0] * spare
        places += [0] * spare
        self._rope(max(places) + 1)
        spans: list[_Span] = []
        at = 0
        for part in parts:
            end = part.row.length + len(part.ids)
            part.row.reserve(end)
            spans.append(_Span(part, at, part.row.length, end, self.device))
            at += len(part.ids)
        index = torch.tensor([ids, places], device=self.device)
        x_NW = F.embedding(index[0], self.embedding)
        rope = self._cos[index[1]], self._sin[index[1]]
        wearing = self._wearing(parts)
        for number, layer in enumerate(self.layers):
            self._block(number, layer, x_NW, rope, spans, wearing)
        for part in parts:
            part.row.length += len(part.ids)
        return self._logits(x_NW, spans)

    def _block(
        self, number: int, layer: _Layer, x_NW: Tensor, rope: Any, spans: list[_Span], wearing: Any
    ) -> None:
        """One decoder layer, added onto ``x_NW`` in place."""
        h = self._normed(x_NW, layer.norm)
        qkv = layer.qkv(h)
        for worn, rows in wearing:
            worn.add(number, "qkv", h, qkv, rows)
        qkv = qkv.view(-1, self.heads + 2 * self.kv_heads, self.head_dim)
        if layer.q_norm is not None and layer.k_norm is not None:
            q, k = qkv[:, : self.heads], qkv[:, self.heads : self.heads + self.kv_heads]
            q.copy_(self._normed(q, layer.q_norm))
            k.copy_(self._normed(k, layer.k_norm))
        qk = qkv[:, : self.heads + self.kv_heads]
        turned = qk.unflatten(-1, (2, -1)).flip(-2).flatten(-2).mul_(rope[1])
        qk.mul_(rope[0]).add_(turned)
        answer = self._attend(number, qkv, spans)
        if len(answer) < MIN_ROWS:
            answer = answer.expand(MIN_ROWS, -1).contiguous()
        out = layer.out(answer)
        for worn, rows in wearing:
            worn.add(number, "out", answer, out, rows)
        x_NW.add_(out)
        h = self._normed(x_NW, layer.norm_mlp)
        both = layer.gate_up(h)
        for worn, rows in wearing:
            worn.add(number, "gate_up", h, both, rows)
        gate, up = both.chunk(2, dim=-1)
        inner = F.silu(gate).mul_(up)
        down = layer.down(inner)
        for worn, rows in wearing:
            worn.add(number, "down", inner, down, rows)
        x_NW.add_(down)

    def _attend(self, number: int, qkv: Tensor, spans: list[_Span]) -> Tensor:
        """Write keys and values, attend, and give the heads side by side, [N, H * D]."""
        kv, groups, width = self.kv_heads, self.groups, self.head_dim
        answers: list[Tensor] = []
        for span in spans:
            cache = span.row.layers[number]
            start, end = span.start, span.end
            if end - start == 1:
                mine = qkv[span.at]
                cache[:, start] = mine[self.heads :]
                known = cache[:, :end].unsqueeze(0)
                query = mine[: self.heads].view(1, kv, groups, width)
                found = F.scaled_dot_product_attention(query, known[:, :kv], known[:, kv:])
                answers.append(found.view(1, -1))
                continue
            mine = qkv[span.at : span.at + end - start]
            cache[:, start:end] = mine[:, self.heads :].transpose(0, 1)
            for first, last, mask in span.blocks(groups):
                query = mine[first - start : last - start, : self.heads]
                query = query.view(-1, kv, groups, width).permute(1, 2, 0, 3)
                query = query.reshape(1, kv, groups * (last - first), width)
                known = cache[:, :last].unsqueeze(0)
                found = F.scaled_dot_product_attention(
                    query, known[:, :kv], known[:, kv:], attn_mask=mask
                )
                found = found.view(kv, groups, last - first, width).permute(2, 0, 1, 3)
                answers.append(found.reshape(last - first, -1))
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _logits(self, x_NW: Tensor, spans: list[_Span]) -> Tensor:
        lasts = [span.at + span.end - span.start - 1 for span in spans if span.wanted]
        if not lasts:
            return x_NW.new_empty(0, len(self.embedding))
        rows = lasts if len(lasts) >= MIN_ROWS else lasts * MIN_ROWS
        chosen = x_NW[rows] if rows != list(range(len(x_NW))) else x_NW
        return self.head(self._normed(chosen, self.norm))[: len(lasts)]

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True).add_(self.eps))
        return weight * (wide * scale).to(x.dtype)

    def _rope(self, length: int) -> None:
        """Cosines and signed sines of at least so many positions, from the model's own module."""
        if length <= len(self._cos):
            return
        length = max(length, 2 * len(self._cos))
        places = torch.arange(length, device=self.device)[None]
        with torch.inference_mode():
            cos, sin = self.model.model.rotary_emb(self.embedding[:1], places)
        signs = torch.ones(self.head_dim, dtype=self.dtype, device=self.device)
        signs[: self.head_dim // 2] = -1
        self._cos, self._sin = cos[0, :, None], (sin[0] * signs)[:, None]

    def _wearing(self, parts: Sequence[Part]) -> list[tuple[LoraLayers, Tensor | None]]:
        """The adapters of this step with their token rows; None means all rows."""
        worn = {part.adapter for part in parts}
        if worn == {None}:
            return []
        if len(worn) == 1:
            (name,) = worn
            return [(self.adapters[name], None)] if name else []
        rows: dict[str, list[int]] = {}
        at = 0
        for part in parts:
            if part.adapter is not None:
                rows.setdefault(part.adapter, []).extend(range(at, at + len(part.ids)))
            at += len(part.ids)
        return [
            (self.adapters[name], torch.tensor(mine if len(mine) > 1 else mine * 2))
            for name, mine in rows.items()
        ]


FIRST_POSITIONS = 512


class _Span:
    """Where a part's tokens stand: ``at`` in the step, ``start`` to ``end`` in the sequence."""

    __slots__ = ("_blocks", "_device", "at", "end", "row", "start", "wanted")

    def __init__(self, part: Part, at: int, start: int, end: int, device: str) -> None:
        self.row, self.wanted = part.row, part.wanted
        self.at, self.start, self.end = at, start, end
        self._device = device
        self._blocks: list[tuple[int, int, Tensor]] | None = None

    def blocks(self, groups: int) -> list[tuple[int, int, Tensor]]:
        """First and last place of each block, and who may see whom in it."""
        if self._blocks is None:
            self._blocks = []
            first = self.start
            while first < self.end:
                last = min((first // BLOCK + 1) * BLOCK, self.end)
                query = torch.arange(first, last, device=self._device)[:, None]
                mask = torch.arange(last, device=self._device)[None] <= query
                self._blocks.append((first, last, mask.repeat(groups, 1)))
                first = last
        return self._blocks


def understood(model: Any) -> bool:
    """Whether class and settings are exactly those that ``LeanModel`` computes."""
    kind = type(model).__name__
    if kind not in KINDS or type(model).__module__.split(".")[0] != "transformers":
        return False
    config = model.config
    layers = model.model.layers
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        all(type(layer).__name__ == KINDS[kind] for layer in layers)
        and config.hidden_act in ("silu", "swish")
        and rope.get("rope_type", "default") in ("default", "llama3", "linear", "yarn")
        and float(rope.get("partial_rotary_factor", 1.0)) == 1.0
        and _sees_everything(config)
        and config.num_attention_heads % config.num_key_value_heads == 0
        and all(type(m) is nn.Linear for m in _linears(layers[0]))
        and type(model.lm_head) is nn.Linear
    )


def _sees_everything(config: Any) -> bool:
    """No layer looks through a sliding window."""
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    layered = getattr(config, "layer_types", None) is not None
    return layered or not getattr(config, "sliding_window", None)


def matches(lean: LeanModel, model: Any) -> bool:
    """Whether both give the same logits for a short text, up to rounding."""
    size = lean.embedding.shape[0]
    ids = [(7 * i * i + 3) % size for i in range(PROBE_TOKENS)]
    with torch.inference_mode():
        wanted = model(torch.tensor([ids], device=lean.device), logits_to_keep=1).logits[0, -1]
        row = lean.new_row()
        lean.forward([Part(row, ids[:-2], wanted=False)])
        lean.forward([Part(row, ids[-2:-1], wanted=False)])
        found = lean.forward([Part(row, ids[-1:])])[0]
    wanted, found = wanted.float(), found.float()
    bound = 0.1 if lean.dtype == torch.bfloat16 else 2e-3
    return bool((wanted - found).norm() <= bound * wanted.norm())


def _linears(layer: Any) -> list[nn.Linear]:
    attention, mlp = layer.self_attn, layer.mlp
    return [
        attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
        mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    ]  # fmt: skip


def _layer(layer: Any, *, packed: bool) -> _Layer:
    q, k, v, out, gate, up, down = _linears(layer)
    q_norm = getattr(layer.self_attn, "q_norm", None)
    k_norm = getattr(layer.self_attn, "k_norm", None)
    return _Layer(
        norm=layer.input_layernorm.weight.detach(),
        qkv=Product([q, k, v], packed=packed),
        out=Product([out], packed=packed),
        norm_mlp=layer.post_attention_layernorm.weight.detach(),
        gate_up=Product([gate, up], packed=packed),
        down=Product([down], packed=packed),
        q_norm=q_norm.weight.detach() if q_norm is not None else None,
        k_norm=k_norm.weight.detach() if k_norm is not None else None,
    )
