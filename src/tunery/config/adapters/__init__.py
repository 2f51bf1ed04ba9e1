"""Which weights are trained: one file per adapter, selected by ``adapter.type``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunery.config.adapters.base import AdapterKind as AdapterKind
from tunery.config.adapters.freeze import FreezeConfig
from tunery.config.adapters.full import FullConfig
from tunery.config.adapters.lora import LoraConfig
from tunery.config.adapters.oft import OFTConfig
from tunery.config.adapters.vera import VeraConfig
from tunery.config.base import kinds

AdapterConfig = Annotated[
    LoraConfig | FullConfig | FreezeConfig | VeraConfig | OFTConfig, Field(discriminator="type")
]
ADAPTERS = kinds(AdapterConfig)
