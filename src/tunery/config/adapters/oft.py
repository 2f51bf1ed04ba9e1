"""The light half of OFT: its settings and their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunery.config.adapters.layered import Layered
from tunery.i18n import t
from tunery.shape import Matrix, ModelShape


class OFTConfig(Layered):
    """The inputs of frozen layers are rotated: angles between their weights stay the same."""

    build = "tunery.adapters.oft:OFT"
    learning_rates = (1e-4, 1e-3)
    peft_type = "OFT"
    theirs: ClassVar[Mapping[str, str]] = {
        "block_size": "oft_block_size",
        "block_share": "block_share",
        "use_cayley_neumann": "use_cayley_neumann",
        "num_cayley_neumann_terms": "num_cayley_neumann_terms",
        "coft": "coft",
        "coft_eps": "eps",
    }

    type: Literal["oft"] = "oft"
    """Orthogonal fine-tuning (OFT)."""

    block_size: int = Field(default=32, ge=2, le=4096)
    """Inputs that are rotated together; must divide the inputs of every adapted layer. Larger
    blocks learn more and need more memory."""

    block_share: bool = False
    """Whether all blocks of a layer share one rotation."""

    use_cayley_neumann: bool = True
    """Whether a series approximates the inverse in the rotation, which is much faster."""

    num_cayley_neumann_terms: int = Field(default=5, ge=2, le=50)
    """Terms of that series; more terms rotate more exactly."""

    coft: bool = False
    """Constrained OFT: limit how far each rotation may go."""

    coft_eps: float = Field(default=6e-5, gt=0.0, le=10.0)
    """The limit of constrained OFT."""

    target_modules: str | list[str] = "all-linear"
    """Linear layers to adapt: all-linear, names such as [q_proj, v_proj], or a regular expression
    for full names."""

    exclude_modules: str | list[str] = Field(default_factory=list)
    """Linear layers to leave out: names, or a regular expression for full names."""

    layers_to_transform: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """Numbers of the decoder layers to adapt, from 0; all if empty."""

    modules_to_save: list[str] = Field(default_factory=list)
    """Modules to train in full beside the rotations, such as [embed_tokens, lm_head]."""

    @property
    def names_modules(self) -> bool:
        """The blocks must divide the inputs of every layer."""
        return True

    def trained(self, shape: ModelShape) -> int:
        """Half of each block without its diagonal, and whole modules."""
        return sum(matrix.numel for matrix in self.matrices(shape)) + self.saved(shape)

    def matrices(self, shape: ModelShape) -> tuple[Matrix, ...]:
        """One per layer, with a row for each of its rotations."""
        size = self.block_size * (self.block_size - 1) // 2
        blocks = Counter(
            1 if self.block_share else inputs // self.block_size
            for _, inputs, _ in self.adapted(shape)
        )
        return tuple(Matrix(rows, size, count) for rows, count in blocks.items() if rows)

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """Per layer the input in fp32, and the rotated input in the compute dtype."""
        kept = sum(inputs for _, inputs, _ in self.adapted(shape)) * (4 + width)
        return -(-kept // shape.num_layers)

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about settings without effect."""
        own = self.model_fields_set
        if "coft_eps" in own and not self.coft:
            yield t("adapter.{name} has no effect with adapter.{switch} false.",
                    name="coft_eps", switch="coft")  # fmt: skip
        if "num_cayley_neumann_terms" in own and not self.use_cayley_neumann:
            yield t("adapter.{name} has no effect with adapter.{switch} false.",
                    name="num_cayley_neumann_terms", switch="use_cayley_neumann")  # fmt: skip
