"""The light half of APOLLO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.optimizers.low_rank import LowRank


class ApolloConfig(LowRank):
    """APOLLO: the gradient itself, scaled as AdamW would scale a random projection of it."""

    build = "tunery.optimizers.apollo:make"
    known_as = "use_apollo apollo_adamw apollo_adamw_layerwise"

    type: Literal["apollo"] = "apollo"  # pyright: ignore[reportIncompatibleVariableOverride]
    """APOLLO (Zhu et al. 2024)."""

    scale: float = Field(default=1.0, gt=0)
    """Updates of projected matrices are multiplied by its square root; 128 is usual with rank 1."""

    scale_per: Literal["channel", "tensor"] = "channel"
    """Whether each row or column along the larger side is scaled alone, or the whole matrix."""
