"""What is learned from a row: one config class a method, chosen by ``method.type``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunery.config.base import Section


class SFTConfig(Section):
    """Supervised fine-tuning: learn the answers of conversations."""

    type: Literal["sft"] = "sft"
    """Supervised fine-tuning on conversations."""


class PretrainConfig(Section):
    """Continued pretraining: learn every token of plain text."""

    type: Literal["pretrain"] = "pretrain"
    """Continued pretraining on plain text."""


MethodConfig = Annotated[SFTConfig | PretrainConfig, Field(discriminator="type")]
