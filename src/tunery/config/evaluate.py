"""Settings for what is measured during training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunery.config.base import Section, WholeText


class EvaluateConfig(Section):
    """Validation loss, answers to fixed prompts, and forgetting."""

    split: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of rows held out for validation, at least one; duplicates are never on both sides."""

    datasets: list[str] = Field(default_factory=list)
    """Datasets to evaluate on, instead of a split."""

    every: Literal["epoch", "never"] | Annotated[int, Field(ge=1)] = "epoch"
    """When to evaluate: every epoch, never, or every N steps."""

    prompts: Annotated[list[str], WholeText()] = Field(default_factory=list)
    """Prompts answered greedily before training, at every evaluation and at the end."""

    samples: int = Field(default=3, ge=0, le=100)
    """Number of held-out rows whose prompts are answered if evaluate.prompts is empty; 0: none."""

    max_new_tokens: int = Field(default=64, ge=1, le=8192)
    """Maximum length of an answer to a sample prompt, in tokens."""

    forgetting: bool = True
    """Measure how much the likelihood of general answers changes (on the probe set)."""

    patience: int | None = Field(default=None, ge=1)
    """Stop early after this many evaluations without improvement."""
