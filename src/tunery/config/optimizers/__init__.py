"""How a gradient becomes a step: one file per optimizer, selected by ``optim.type``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunery.config.base import kinds
from tunery.config.optimizers.adafactor import AdafactorConfig
from tunery.config.optimizers.adam_mini import AdamMiniConfig
from tunery.config.optimizers.adamw import AdamWConfig
from tunery.config.optimizers.adamw_8bit import AdamW8bitConfig
from tunery.config.optimizers.ademamix import AdEMAMixConfig
from tunery.config.optimizers.ademamix_8bit import AdEMAMix8bitConfig
from tunery.config.optimizers.apollo import ApolloConfig
from tunery.config.optimizers.badam import BAdamConfig
from tunery.config.optimizers.base import OptimizerKind as OptimizerKind
from tunery.config.optimizers.galore import GaLoreConfig
from tunery.config.optimizers.lion import LionConfig
from tunery.config.optimizers.lion_8bit import Lion8bitConfig
from tunery.config.optimizers.muon import MuonConfig
from tunery.config.optimizers.schedule_free import ScheduleFreeConfig
from tunery.config.optimizers.stable_adamw import StableAdamWConfig

OptimConfig = Annotated[
    AdamWConfig
    | AdamW8bitConfig
    | AdafactorConfig
    | LionConfig
    | Lion8bitConfig
    | MuonConfig
    | ScheduleFreeConfig
    | StableAdamWConfig
    | AdEMAMixConfig
    | AdEMAMix8bitConfig
    | AdamMiniConfig
    | GaLoreConfig
    | ApolloConfig
    | BAdamConfig,
    Field(discriminator="type"),
]
OPTIMIZERS = kinds(OptimConfig)
