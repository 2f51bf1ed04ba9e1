"""How much memory a run needs, part by part, before anything is loaded.

Light and pure: it reads a model's ``config.json`` as a dict and does arithmetic. Parameter counts
are those of a decoder with grouped-query attention and a gated feed-forward layer, which is what
the supported architectures have; where the safetensors headers are at hand their exact count is
passed in as ``total_parameters``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunery.config.adapter import AdapterConfig, FreezeConfig, FullConfig, LoraConfig

BYTES = {"fp32": 4, "bf16": 2}
LINEAR_NAMES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ADAM_STATES = 2
LOSS_CHUNK_TOKENS = 1024
"""Trained tokens whose logits exist at once in the chunked loss."""
INTERPRETER_BYTES = 450 * 2**20
"""Python, torch and transformers themselves, measured on the CI machine."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of an architecture that decide memory and time."""

    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    total_parameters: int

    @classmethod
    def from_config_json(
        cls, config: dict[str, Any], *, total_parameters: int | None = None
    ) -> ModelShape:
        """Read the shape from a parsed ``config.json``.

        Raises:
            KeyError: A number that every decoder has is missing.
        """
        config = config.get("text_config", config)
        hidden = int(config["hidden_size"])
        heads = int(config["num_attention_heads"])
        shape = cls(
            hidden=hidden,
            num_layers=int(config["num_hidden_layers"]),
            num_heads=heads,
            num_kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            intermediate=int(config.get("intermediate_size") or 4 * hidden),
            vocab=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            total_parameters=0,
        )
        counted = total_parameters or shape.counted_parameters()
        return cls(**{**{f: getattr(shape, f) for f in _FIELDS}, "total_parameters": counted})

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear layer of one block, by its usual name."""
        q, kv = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, q),
            "k_proj": (self.hidden, kv),
            "v_proj": (self.hidden, kv),
            "o_proj": (q, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    def block_parameters(self) -> int:
        """Parameters of one decoder block."""
        return sum(i * o for i, o in self.linear_shapes().values()) + 2 * self.hidden

    def counted_parameters(self) -> int:
        """Parameters of the whole model, by its shape."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.num_layers * self.block_parameters() + embeddings + self.hidden


_FIELDS = tuple(ModelShape.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes a run needs at its peak, by part."""

    weights: int
    trained: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    interpreter: int

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        """The parts by name, in bytes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def trained_parameters(shape: ModelShape, adapter: AdapterConfig) -> int:
    """How many numbers the adapter trains."""
    match adapter:
        case FullConfig():
            return shape.total_parameters
        case FreezeConfig():
            return min(adapter.num_layers, shape.num_layers) * shape.block_parameters()
        case LoraConfig():
            linear = shape.linear_shapes()
            wanted = adapter.target_modules
            names = linear if wanted == "all-linear" else [n for n in linear if n in wanted]
            per_block = sum(adapter.rank * sum(linear[name]) for name in names)
            return shape.num_layers * per_block


def estimate(
    shape: ModelShape,
    adapter: AdapterConfig,
    *,
    dtype: str,
    micro_batch_tokens: int,
    gradient_checkpointing: bool = False,
) -> MemoryEstimate:
    """Estimate the peak memory of one training step.

    Args:
        shape: The model.
        adapter: What is trained.
        dtype: ``fp32`` or ``bf16``, of the frozen weights and the activations.
        micro_batch_tokens: Tokens in one forward and backward pass.
        gradient_checkpointing: Whether blocks are computed again in the backward pass.
    """
    trained = trained_parameters(shape, adapter)
    lora = isinstance(adapter, LoraConfig)
    frozen = shape.total_parameters if lora else shape.total_parameters - trained
    activations = _activation_bytes(
        shape, adapter, BYTES[dtype], micro_batch_tokens, gradient_checkpointing
    )
    logits = min(LOSS_CHUNK_TOKENS, micro_batch_tokens) * shape.vocab * (4 + BYTES[dtype])
    return MemoryEstimate(
        weights=frozen * BYTES[dtype],
        trained=trained * 4,
        gradients=trained * 4,
        optimizer=trained * 4 * ADAM_STATES,
        activations=activations,
        logits=logits,
        interpreter=INTERPRETER_BYTES,
    )


def fitting_micro_batch(
    shape: ModelShape,
    adapter: AdapterConfig,
    *,
    dtype: str,
    available_bytes: int,
    longest_row: int,
    gradient_checkpointing: bool = False,
) -> int | None:
    """The largest micro batch, in tokens, whose estimate fits; None if the longest row does not.

    Powers of two times the longest row are tried from 16 rows down.
    """
    for rows in (16, 8, 4, 2, 1):
        need = estimate(
            shape,
            adapter,
            dtype=dtype,
            micro_batch_tokens=rows * longest_row,
            gradient_checkpointing=gradient_checkpointing,
        )
        if need.total <= available_bytes:
            return rows * longest_row
    return None


def _activation_bytes(
    shape: ModelShape, adapter: AdapterConfig, width: int, tokens: int, checkpointing: bool
) -> int:
    """Bytes kept between the forward and the backward pass.

    A block keeps its two normed inputs (and fp32 copies inside RMSNorm), q, k, v, the attention
    output, gate, up, their product, and for LoRA the low-rank halves.
    """
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    per_token = 4 * shape.hidden + 2 * (q + kv) + q + 3 * shape.intermediate
    block = per_token * width + 4 * shape.hidden * 2
    if isinstance(adapter, LoraConfig):
        block += 7 * adapter.rank * width
    blocks = shape.num_layers
    if isinstance(adapter, FreezeConfig):
        blocks = min(adapter.num_layers, shape.num_layers)
    if checkpointing:
        return tokens * (blocks * shape.hidden * width + block)
    return tokens * blocks * block
