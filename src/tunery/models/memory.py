"""How much memory a run needs, part by part, before anything is loaded.

Light and pure: it sums what the model's shape and the chosen kinds say.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunery.config.config import Config
from tunery.shape import BYTES, ModelShape

LOSS_CHUNK_TOKENS = 1024
"""Trained tokens whose logits exist at once in the chunked loss."""
INTERPRETER_BYTES = 450 * 2**20
"""Python, torch and transformers themselves, measured on the CI machine."""


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


def estimate(
    shape: ModelShape, config: Config, *, dtype: str, micro_batch_tokens: int
) -> MemoryEstimate:
    """Estimate the peak memory of one training step, by asking the chosen kinds.

    Args:
        shape: The model.
        config: The settings.
        dtype: ``fp32`` or ``bf16``, of the frozen weights and the activations.
        micro_batch_tokens: Tokens in one forward and backward pass.
    """
    adapter, width = config.adapter, BYTES[dtype]
    trained = adapter.trained(shape) if shape.trained is None else shape.trained
    replaced = trained if adapter.writes == "model" else 0
    logits = min(LOSS_CHUNK_TOKENS, micro_batch_tokens) * shape.vocab * (4 + width)
    return MemoryEstimate(
        weights=config.quantization.weight_bytes(shape, width) - replaced * width,
        trained=trained * 4,
        gradients=trained * 4,
        optimizer=config.optim.state_bytes(trained),
        activations=_activation_bytes(shape, config, width, micro_batch_tokens),
        logits=logits,
        interpreter=INTERPRETER_BYTES,
    )


def fitting_micro_batch(
    shape: ModelShape, config: Config, *, dtype: str, available_bytes: int, longest_row: int
) -> int | None:
    """The largest micro batch, in tokens, whose estimate fits; None if the longest row does not.

    Powers of two times the longest row are tried from 16 rows down.
    """
    for rows in (16, 8, 4, 2, 1):
        tokens = rows * longest_row
        need = estimate(shape, config, dtype=dtype, micro_batch_tokens=tokens)
        if need.total <= available_bytes:
            return tokens
    return None


def _activation_bytes(shape: ModelShape, config: Config, width: int, tokens: int) -> int:
    """Bytes kept between the forward and the backward pass.

    A block keeps its two normed inputs (and fp32 copies inside RMSNorm), q, k, v, the attention
    output, gate, up, their product, and what the adapter adds.
    """
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    per_token = 4 * shape.hidden + 2 * (q + kv) + q + 3 * shape.intermediate
    block = per_token * width + 4 * shape.hidden * 2 + config.adapter.kept_bytes(shape, width)
    blocks = config.adapter.kept_blocks(shape)
    if config.train.gradient_checkpointing:
        return tokens * (blocks * shape.hidden * width + block)
    return tokens * blocks * block
