"""How a gradient becomes a step: one file per optimizer, selected by ``optim.type``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunery.config.base import kinds
from tunery.config.optimizers.adamw import AdamWConfig
from tunery.config.optimizers.base import OptimizerKind as OptimizerKind
from tunery.config.optimizers.muon import MuonConfig

OptimConfig = Annotated[AdamWConfig | MuonConfig, Field(discriminator="type")]
OPTIMIZERS = kinds(OptimConfig)
