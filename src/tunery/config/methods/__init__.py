"""What is learned from a row: one file per method, selected by ``method.type``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunery.config.base import kinds
from tunery.config.methods.base import MethodKind as MethodKind
from tunery.config.methods.base import Produces as Produces
from tunery.config.methods.cpo import CPOConfig
from tunery.config.methods.distill import DistillConfig
from tunery.config.methods.dpo import DPOConfig
from tunery.config.methods.kto import KTOConfig
from tunery.config.methods.orpo import ORPOConfig
from tunery.config.methods.pretrain import PretrainConfig
from tunery.config.methods.reward import RewardConfig
from tunery.config.methods.sft import SFTConfig
from tunery.config.methods.simpo import SimPOConfig

MethodConfig = Annotated[
    SFTConfig
    | PretrainConfig
    | DPOConfig
    | ORPOConfig
    | SimPOConfig
    | CPOConfig
    | KTOConfig
    | RewardConfig
    | DistillConfig,
    Field(discriminator="type"),
]
METHODS = kinds(MethodConfig)


def trains_scores(method: str | None) -> bool:
    """Whether a method, by its name, trains a model that scores answers and writes none."""
    return any(
        kind.model_fields["type"].default == method and kind.produces == "scores"
        for kind in METHODS
    )
