"""The whole of a run's settings, section by section."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from tunery.config.adapter import AdapterConfig, LoraConfig
from tunery.config.base import Section
from tunery.config.checkpoint import CheckpointConfig
from tunery.config.data import DataConfig
from tunery.config.evaluate import EvaluateConfig
from tunery.config.method import MethodConfig, SFTConfig
from tunery.config.model import ModelConfig
from tunery.config.optim import OptimConfig
from tunery.config.train import TrainConfig


class Config(Section):
    """Everything that decides a run."""

    preset: str | None = None
    """Named set of settings to start from; the file and the flags win over it."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The base model."""

    data: DataConfig = Field(default_factory=DataConfig)
    """The training rows."""

    method: MethodConfig = Field(default_factory=SFTConfig)
    """What is learned from a row."""

    adapter: AdapterConfig = Field(default_factory=LoraConfig)
    """Which weights are trained."""

    optim: OptimConfig = Field(default_factory=OptimConfig)
    """Optimizer and learning rate."""

    train: TrainConfig = Field(default_factory=TrainConfig)
    """The loop."""

    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    """What is measured."""

    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    """What is saved."""

    @field_validator("model", mode="before")
    @classmethod
    def _short_model(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
