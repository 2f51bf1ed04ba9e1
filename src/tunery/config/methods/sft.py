"""The light half of supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from tunery.config.methods.base import MethodKind


class SFTConfig(MethodKind):
    """Supervised fine-tuning: learn the answers of conversations."""

    build = "tunery.methods.sft:SFT"
    rows = "conversation"
    replays = True

    type: Literal["sft"] = "sft"
    """Supervised fine-tuning on conversations."""
