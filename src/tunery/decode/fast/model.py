"""A forward pass for Llama-like models with minimal overhead around the matrix products.

A decoding step on a CPU is bound by memory traffic and operator call overhead; transformers' layers
call about twice as many operators as necessary, and read keys and values once per query head. Here
all sequences go through a step together, with our own kernels if the processor supports them
(fast/cpu.py), otherwise with torch (fast/plain.py). Rounding is the same as in transformers'
modules. Every row's result is independent of the rest of the batch.

Used only for the classes listed in ``KINDS`` with settings that are all supported, and after a
comparison with the module itself (``matches``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunery.decode.cache import CacheShape, KvRow
from tunery.decode.fast.lora import ActiveLora, LoraLayers
from tunery.decode.fast.plain import TorchLayers
from tunery.decode.fast.spans import Part, Span
from tunery.decode.fast.weights import Weights, linears_of
from tunery.decode.prepack import fits
from tunery.kernels.cpu.layout import UNIT
from tunery.kernels.cpu.ready import ready

KINDS = {
    "LlamaForCausalLM": "LlamaDecoderLayer",
    "MistralForCausalLM": "MistralDecoderLayer",
    "Qwen2ForCausalLM": "Qwen2DecoderLayer",
    "Qwen3ForCausalLM": "Qwen3DecoderLayer",
}
PROBE_TOKENS = 12
FIRST_POSITIONS = 512


class FastModel:
    """A Llama-like model, ready to read parts of sequences.

    Args:
        model: A model for which ``understood`` holds; its weights must not change.
        kernels: False always uses torch's operations.
    """

    in_pieces = True
    """A prompt may be read in pieces, and its cache copied and kept."""
    read_tokens = 256
    """Prompt tokens read per step, so that other requests wait only a fraction of a second."""

    def __init__(self, model: Any, *, kernels: bool = True) -> None:
        self.model = model
        self.weights = Weights(model)
        self.embedding = self.weights.embedding
        self.dtype = self.embedding.dtype
        self.device = str(self.embedding.device)
        self.shape = CacheShape(
            len(self.weights.layers), self.weights.kv_heads, self.weights.head_dim, self.dtype,
            self.device,
        )  # fmt: skip
        self.layers = _layers(self.weights, kernels=kernels)
        self.row_bits = self.layers.row_bits
        self.adapters: dict[str, LoraLayers] = {}
        self._cos = self._sin = torch.empty(0)
        self._rope(FIRST_POSITIONS)

    @property
    def by_kernels(self) -> bool:
        """Whether our own kernels are used."""
        return not isinstance(self.layers, TorchLayers)

    def new_row(self) -> KvRow:
        """An empty cache for one sequence."""
        return KvRow(self.shape)

    @torch.inference_mode()
    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Read the parts and extend their rows.

        Returns:
            Logits for the requested tokens of the parts, in order, [asked, V].
        """
        ids = [token for part in parts for token in part.ids]
        places = [p for x in parts for p in range(x.row.length, x.row.length + len(x.ids))]
        active = self._active(parts)
        spare = max(0, self.layers.min_rows - len(ids))
        ids += [0] * spare
        places += [0] * spare
        self._rope(max(places) + 1)
        spans: list[Span] = []
        at = 0
        for part in parts:
            part.row.reserve(part.row.length + len(part.ids))
            spans.append(Span(part, at, self.weights.heads // self.weights.kv_heads))
            at += len(part.ids)
        index = torch.tensor([ids, places], device=self.device)
        logits = self.layers.forward(index, (self._cos, self._sin), spans, active)
        for part in parts:
            part.row.length += len(part.ids)
        return logits

    def _rope(self, length: int) -> None:
        """Compute cosines and signed sines of at least this many positions, with the model."""
        if length <= len(self._cos):
            return
        length = max(length, 2 * len(self._cos))
        places = torch.arange(length, device=self.device)[None]
        with torch.inference_mode():
            cos, sin = self.model.model.rotary_emb(self.embedding[:1], places)
        signs = torch.ones(self.weights.head_dim, dtype=self.dtype, device=self.device)
        signs[: self.weights.head_dim // 2] = -1
        self._cos, self._sin = cos[0, :, None], (sin[0] * signs)[:, None]

    def _active(self, parts: Sequence[Part]) -> list[ActiveLora]:
        """The adapters of this step with their token rows; None means all rows."""
        used = {part.adapter for part in parts}
        if used == {None}:
            return []
        if len(used) == 1:
            (name,) = used
            return [ActiveLora(self.adapters[name], None)] if name else []
        rows: dict[str, list[int]] = {}
        at = 0
        for part in parts:
            if part.adapter is not None:
                rows.setdefault(part.adapter, []).extend(range(at, at + len(part.ids)))
            at += len(part.ids)
        return [ActiveLora(self.adapters[name], torch.tensor(mine)) for name, mine in rows.items()]


def _layers(weights: Weights, *, kernels: bool) -> Any:
    """Our own kernels if they support this model, otherwise torch."""
    if kernels and fit_for_kernels(weights) and fits(weights.num_bytes) and ready():
        from tunery.decode.fast.cpu import CpuLayers  # its kernels compile when imported

        return CpuLayers(weights)
    return TorchLayers(weights)


def fit_for_kernels(weights: Weights) -> bool:
    """Whether the kernels support weights of these shapes and this precision."""
    *inner, head = weights.linears
    tensors = [weights.embedding, weights.norm]
    tensors += [layer.weight for linear in weights.linears for layer in linear.layers]
    for layer in weights.layers:
        norms = layer.norm, layer.norm_mlp, layer.q_norm, layer.k_norm
        tensors += [norm for norm in norms if norm is not None]
    return (
        all(x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in tensors)
        and all(x.is_contiguous() for x in tensors)
        and all(linear.outputs % UNIT == 0 for linear in inner)
        and all(linear.inputs % 2 == 0 for linear in (*inner, head))
        and weights.head_dim % 2 == 0
    )


def understood(model: Any) -> bool:
    """Whether class and settings are exactly those that ``FastModel`` supports."""
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
        and all(type(m) is nn.Linear for layer in layers for m in linears_of(layer))
        and type(model.lm_head) is nn.Linear
        and type(model.model.embed_tokens) is nn.Embedding
    )


def _sees_everything(config: Any) -> bool:
    """Whether no layer uses sliding-window attention."""
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    layered = getattr(config, "layer_types", None) is not None
    return layered or not getattr(config, "sliding_window", None)


def matches(fast: FastModel, model: Any, adapter: str | None = None) -> bool:
    """Whether both produce the same logits for a short text, up to rounding.

    Args:
        fast: The fast pass.
        model: The module that it replaces, with the same adapter active.
        adapter: The adapter that the fast pass uses.
    """
    size = fast.embedding.shape[0]
    ids = [(7 * i * i + 3) % size for i in range(PROBE_TOKENS)]
    with torch.inference_mode():
        wanted = model(torch.tensor([ids], device=fast.device), logits_to_keep=1).logits[0, -1]
        row = fast.new_row()
        fast.forward([Part(row, ids[:-2], adapter, wanted=0)])
        fast.forward([Part(row, ids[-2:-1], adapter, wanted=0)])
        found = fast.forward([Part(row, ids[-1:], adapter)])[0]
    wanted, found = wanted.float(), found.float()
    bound = 0.1 if fast.dtype == torch.bfloat16 else 2e-3
    return bool((wanted - found).norm() <= bound * wanted.norm())
