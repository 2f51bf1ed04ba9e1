"""The light half of odds ratio preference optimization."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunery.config.methods.pairs import PairMethod


class ORPOConfig(PairMethod):
    """Odds ratio preference optimization: SFT and preference combined, without a reference."""

    build = "tunery.methods.orpo:ORPO"
    rate_scale = 0.3

    type: Literal["orpo"] = "orpo"
    """Odds ratio preference optimization (ORPO): SFT of the chosen answer with a penalty."""

    beta: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio loss, added to the SFT loss (lambda in the paper)."""
