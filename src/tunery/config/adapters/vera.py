"""The light half of VeRA: its settings and their cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunery.config.adapters.layered import Layered
from tunery.shape import Matrix, ModelShape


class VeraConfig(Layered):
    """Two trained vectors per layer on shared random matrices: fewer weights than LoRA."""

    build = "tunery.adapters.vera:Vera"
    learning_rates = (1e-3, 1e-2)
    peft_type = "VERA"
    theirs: ClassVar[Mapping[str, str]] = {
        "rank": "r",
        "projection_seed": "projection_prng_key",
        "dropout": "vera_dropout",
    }
    beginning = ("initial_scale",)

    type: Literal["vera"] = "vera"
    """Vector-based random matrix adaptation (VeRA)."""

    rank: int = Field(default=256, ge=1, le=16_384)
    """Rank of the shared random matrices; 256 to 1024 is usual, more than for LoRA."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout probability of the adapter inputs during training."""

    initial_scale: float = Field(default=0.1, gt=0.0, le=10.0)
    """Value of the vector between the matrices before training; at most 0.1 is recommended."""

    projection_seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the shared random matrices. Adapters that are served together need the same one."""

    target_modules: str | list[str] = "all-linear"
    """Linear layers to adapt: all-linear, names such as [q_proj, v_proj], or a regular expression
    for full names."""

    exclude_modules: str | list[str] = Field(default_factory=list)
    """Linear layers to leave out: names, or a regular expression for full names."""

    layers_to_transform: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """Numbers of the decoder layers to adapt, from 0; all if empty."""

    modules_to_save: list[str] = Field(default_factory=list)
    """Modules to train in full beside the vectors, such as [embed_tokens, lm_head]."""

    @property
    def narrow(self) -> int:
        """Only vectors are trained."""
        return 1

    def trained(self, shape: ModelShape) -> int:
        """A vector of the rank and one of the outputs per selected layer, and whole modules."""
        vectors = sum(self.rank + outputs for _, _, outputs in self.adapted(shape))
        return vectors + self.saved(shape)

    def matrices(self, shape: ModelShape) -> tuple[Matrix, ...]:
        """The vectors, as matrices with one column."""
        return tuple(
            Matrix(size, 1)
            for _, _, outputs in self.adapted(shape)
            for size in (self.rank, outputs)
        )

    def frozen_parameters(self, shape: ModelShape) -> int:
        """The shared matrices, as large as the largest layer needs."""
        adapted = list(self.adapted(shape))
        inputs = max((size for _, size, _ in adapted), default=0)
        outputs = max((size for _, _, size in adapted), default=0)
        return self.rank * (inputs + outputs)

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """Per layer the input, two products of the rank and two of the outputs, in fp32."""
        kept = sum(i + 2 * self.rank + 2 * o for _, i, o in self.adapted(shape)) * 4
        return -(-kept // shape.num_layers)
