"""All settings of a run, section by section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator

from tunery.config.adapters import ADAPTERS, AdapterConfig
from tunery.config.base import Kind, Section
from tunery.config.checkpoint import CheckpointConfig
from tunery.config.data import DataConfig
from tunery.config.evaluate import EvaluateConfig
from tunery.config.methods import METHODS, MethodConfig
from tunery.config.model import ModelConfig
from tunery.config.optimizers import OPTIMIZERS, OptimConfig
from tunery.config.quantization import QUANTIZATIONS, QuantizationConfig
from tunery.config.trackers import TrackConfig
from tunery.config.train import TrainConfig


class Config(Section):
    """Everything that decides a run."""

    preset: str | None = None
    """Named set of settings to start from; files and flags override it."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The base model."""

    data: DataConfig = Field(default_factory=DataConfig)
    """The training rows."""

    method: MethodConfig = Field(default_factory=METHODS[0])
    """What the model learns from a row."""

    adapter: AdapterConfig = Field(default_factory=ADAPTERS[0])
    """Which weights are trained."""

    quantization: QuantizationConfig = Field(default_factory=QUANTIZATIONS[0])
    """Number format of the base model's frozen weights in memory."""

    optim: OptimConfig = Field(default_factory=OPTIMIZERS[0])
    """Optimizer and learning rate."""

    train: TrainConfig = Field(default_factory=TrainConfig)
    """The loop."""

    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    """What is measured."""

    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    """What is saved."""

    track: TrackConfig = Field(default_factory=TrackConfig)
    """Where else it is shown."""

    def kinds(self) -> Iterator[Kind]:
        """The selected kinds, in the order of the sections."""
        for name in type(self).model_fields:
            section = getattr(self, name)
            if isinstance(section, Kind):
                yield section
        yield from self.track.chosen().values()

    @field_validator("model", mode="before")
    @classmethod
    def _short_model(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
