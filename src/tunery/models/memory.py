"""Estimate the memory of a run by part, before anything is loaded.

Light and pure: the sizes follow from the model's shape and the configured adapter and optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tunery.config.config import Config
from tunery.shape import BYTES, ModelShape

LOSS_CHUNK_TOKENS = 1024
"""Trained tokens per chunk of the loss; logits exist for one chunk at a time."""
INTERPRETER_BYTES = 450 * 2**20
"""Python with torch and transformers imported, measured on the CI machine."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Peak memory of a run by part, in bytes.

    Args:
        weights: Weights that are not trained.
        trained: Trained parameters, in fp32.
        gradients: Their gradients, in fp32.
        optimizer: State of the optimizer.
        activations: Tensors kept for the backward pass.
        logits: Logits of one chunk of the loss.
        others: Weights of further models that the method reads; of models that are read before
            the first step and then released, what does not fit in place of gradients, optimizer
            and activations.
        interpreter: Python and its libraries.
    """

    weights: int
    trained: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    others: int
    interpreter: int

    @property
    def total(self) -> int:
        """The sum of all parts, in bytes."""
        return sum(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        """The parts by name, in bytes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def estimate(
    shape: ModelShape, config: Config, *, dtype: str, micro_batch_tokens: int, others: int = 0
) -> MemoryEstimate:
    """Estimate the peak memory of one training step.

    Args:
        shape: The model's dimensions.
        config: The settings.
        dtype: ``fp32`` or ``bf16``, for the frozen weights and the activations.
        micro_batch_tokens: Tokens per forward and backward pass.
        others: Parameters of further models.
    """
    adapter, width = config.adapter, BYTES[dtype]
    weights = adapter.weights(shape)
    trained = weights.count
    replaced = trained if adapter.writes == "model" else 0
    logits = min(LOSS_CHUNK_TOKENS, micro_batch_tokens) * shape.vocab * (4 + width)
    made = MemoryEstimate(
        weights=config.quantization.weight_bytes(shape, width)
        - replaced * width
        + adapter.frozen_parameters(shape) * 4,
        trained=trained * 4,
        gradients=config.optim.gradient_bytes(weights),
        optimizer=config.optim.state_bytes(weights),
        activations=_activation_bytes(shape, config, width, micro_batch_tokens),
        logits=logits,
        others=others * width,
        interpreter=INTERPRETER_BYTES,
    )
    if config.method.keeps_models:
        return made
    later = made.gradients + made.optimizer + made.activations
    return replace(made, others=max(0, made.others - later))


def fitting_micro_batch(
    shape: ModelShape,
    config: Config,
    *,
    dtype: str,
    available_bytes: int,
    longest_row: int,
    others: int = 0,
) -> int | None:
    """The largest micro batch, in tokens, that fits in memory; None if one row does not.

    Tries 16, 8, 4, 2 and 1 times the longest row.

    Args:
        shape: The model's dimensions.
        config: The settings.
        dtype: As for ``estimate``.
        available_bytes: Memory available to the run.
        longest_row: Length of the longest row, in tokens.
        others: As for ``estimate``.
    """
    for rows in (16, 8, 4, 2, 1):
        tokens = rows * longest_row
        need = estimate(shape, config, dtype=dtype, micro_batch_tokens=tokens, others=others)
        if need.total <= available_bytes:
            return tokens
    return None


def _activation_bytes(shape: ModelShape, config: Config, width: int, tokens: int) -> int:
    """Bytes of the tensors kept from the forward to the backward pass.

    A block keeps its two normalized inputs (with fp32 copies inside RMSNorm), q, k, v, the
    attention output, gate, up, their product, and the tensors of the adapter.
    """
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    per_token = 4 * shape.hidden + 2 * (q + kv) + q + 3 * shape.intermediate
    block = per_token * width + 4 * shape.hidden * 2 + config.adapter.kept_bytes(shape, width)
    blocks = config.adapter.kept_blocks(shape)
    if config.train.gradient_checkpointing:
        return tokens * (blocks * shape.hidden * width + block)
    return tokens * blocks * block
