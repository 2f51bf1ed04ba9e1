"""Read the dimensions of a model that determine memory and time from its ``config.json``.

Architectures name the same dimension differently (``n_embd``, ``d_model``); dimensions missing from
a config are guessed and listed in ``guessed``. Parameter counts are those of a decoder with
grouped-query attention and a gated feed-forward layer; if the safetensors headers are available,
their exact count is passed in as ``total_parameters``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("d_model", "n_embd", "emb_dim", "embedding_size", "hidden_dim"),
    "num_hidden_layers": ("decoder_layers", "n_layer", "n_layers", "num_layers",
                          "num_decoder_layers", "num_blocks"),
    "num_attention_heads": ("decoder_attention_heads", "n_head", "n_heads", "num_heads",
                            "attention_heads", "num_decoder_attention_heads"),
    "intermediate_size": ("decoder_ffn_dim", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff",
                          "moe_intermediate_size"),
    "vocab_size": (),
}  # fmt: skip
"""Alternative names of each dimension in transformers 5.23 configs, those of decoders first."""
LISTED = ("layers_block_type", "layer_types", "hybrid_override_pattern")
"""Keys under which a config lists its layers instead of giving their number."""

BYTES = {"fp32": 4, "bf16": 2}
"""Bytes per number, by dtype name."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The dimensions of a model that determine memory and time."""

    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    total_parameters: int
    trained: int | None = None
    """Number of trained parameters, if counted; None leaves the estimate to the adapter's
    settings."""
    counted: tuple[int, int] | None = None
    """Numbers of weights and of output rows in the layers that are quantized, if counted; None
    takes the linear layers of all blocks."""
    guessed: tuple[str, ...] = ()
    """Usual names of the guessed dimensions; estimates based on them are rough."""

    @classmethod
    def from_config_json(
        cls, config: dict[str, Any], *, total_parameters: int | None = None
    ) -> ModelShape:
        """Read the shape from a parsed ``config.json``."""
        parts = list(_parts(config))
        found = {name: _number(parts, name) for name in NAMES}
        guessed = tuple(n for n, value in found.items() if not value and n != "intermediate_size")
        hidden, heads = found["hidden_size"] or GUESSED_HIDDEN, found["num_attention_heads"] or 1
        shape = cls(
            hidden=hidden,
            num_layers=found["num_hidden_layers"] or 1,
            num_heads=heads,
            num_kv_heads=_number(parts, "num_key_value_heads") or heads,
            head_dim=_number(parts, "head_dim") or max(1, hidden // heads),
            intermediate=found["intermediate_size"] or 4 * hidden,
            vocab=found["vocab_size"] or 1,
            tied=bool(parts[0].get("tie_word_embeddings", False)),
            total_parameters=0,
            guessed=guessed,
        )
        return replace(shape, total_parameters=total_parameters or shape.counted_parameters())

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(in, out) sizes of each linear layer of one block, by its usual name."""
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

    @property
    def linear(self) -> tuple[int, int]:
        """Numbers of weights and of output rows in the layers that are quantized."""
        if self.counted is not None:
            return self.counted
        sizes = self.linear_shapes().values()
        return self.num_layers * sum(i * o for i, o in sizes), self.num_layers * sum(
            o for _, o in sizes
        )

    def block_parameters(self) -> int:
        """Number of parameters in one decoder block."""
        return sum(i * o for i, o in self.linear_shapes().values()) + 2 * self.hidden

    def counted_parameters(self) -> int:
        """Number of parameters in the whole model, computed from its shape."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.num_layers * self.block_parameters() + embeddings + self.hidden


GUESSED_HIDDEN = 4096


class Matrix(NamedTuple):
    """Trained matrices of one size.

    Args:
        rows: Size of their first dimension.
        columns: Size of their second dimension.
        count: How many there are.
        in_block: Whether they are part of the decoder blocks, not embeddings or the output layer.
    """

    rows: int
    columns: int
    count: int = 1
    in_block: bool = True

    @property
    def numel(self) -> int:
        """Elements of all of them together."""
        return self.rows * self.columns * self.count


@dataclass(frozen=True, slots=True)
class Trained:
    """The trained weights, as far as an optimizer's memory depends on them.

    Args:
        count: Number of trained parameters.
        matrices: Their matrices; may be incomplete, and stands for the rest.
        num_blocks: Decoder blocks that are trained.
    """

    count: int
    matrices: tuple[Matrix, ...] = ()
    num_blocks: int = 1

    def bytes_by_matrix(self, of: Callable[[Matrix], int]) -> int:
        """Bytes of a state that depends on the sides of each matrix.

        Args:
            of: Bytes for all matrices of one size; numbers that belong to no matrix count like
                the matrices on average.
        """
        numel = sum(matrix.numel for matrix in self.matrices)
        if not numel:
            return 0
        return round(sum(of(matrix) for matrix in self.matrices) * self.count / numel)


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The language model's config first, then the whole config, then its other parts."""
    for name in ("text_config", "decoder"):
        yield from _objects([config.get(name)])
    yield config
    yield from _objects(config.values())


def _objects(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    yield from (cast("dict[str, Any]", value) for value in values if isinstance(value, dict))


def _number(parts: list[dict[str, Any]], name: str) -> int:
    """Look up a dimension under any of its names; 0 if no part has it."""
    for part in parts:
        for each in (name, *NAMES.get(name, ())):
            value = part.get(each)
            if isinstance(value, list) and value and name in PER_LAYER:
                value = max(value, key=lambda item: item if isinstance(item, int) else 0)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                return int(value)
        if name == "num_hidden_layers":
            listed = next((part[each] for each in LISTED if part.get(each)), None)
            if isinstance(listed, list | str):
                return len(cast("list[Any] | str", listed))
    return 0


PER_LAYER = ("num_attention_heads", "num_key_value_heads", "intermediate_size")
"""Dimensions that some architectures list per layer; the largest value is used."""
