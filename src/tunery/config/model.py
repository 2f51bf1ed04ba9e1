"""Settings of the base model."""

from __future__ import annotations

from typing import Literal

from tunery.config.base import Section

Dtype = Literal["auto", "fp32", "bf16"]


class ModelConfig(Section):
    """The model to train, its number format and device. ``model: NAME`` is short for model.name."""

    name: str = "demo"
    """Hub id (optionally @revision), folder, .gguf file, adapter folder, run name, or demo."""

    dtype: Dtype = "auto"
    """Number format of frozen weights and computation; auto selects bf16 where fast, else fp32."""

    device: str = "auto"
    """Device to run on: auto, cpu, cuda or cuda:N."""

    template: str | None = None
    """Chat template to use: a built-in name, a .jinja file, or own+hermes (tools as text)."""
