"""The numbers of an architecture that decide memory and time, from a model's ``config.json``.

Parameter counts are those of a decoder with grouped-query attention and a gated feed-forward
layer, which is what the supported architectures have; where the safetensors headers are at hand
their exact count is passed in as ``total_parameters``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTES = {"fp32": 4, "bf16": 2}
"""Bytes of one number, by the name of its dtype."""


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
