"""The number format of the frozen base model: one file per kind, by ``quantization.type``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunery.config.base import kinds
from tunery.config.quantization.base import QuantizationKind as QuantizationKind
from tunery.config.quantization.fp4 import FP4Config
from tunery.config.quantization.fp8_weight_only import FP8WeightOnlyConfig
from tunery.config.quantization.int8 import Int8Config
from tunery.config.quantization.int8_weight_only import Int8WeightOnlyConfig
from tunery.config.quantization.nf4 import NF4Config
from tunery.config.quantization.none import NoneConfig

QuantizationConfig = Annotated[
    NoneConfig | NF4Config | FP4Config | Int8Config | Int8WeightOnlyConfig | FP8WeightOnlyConfig,
    Field(discriminator="type"),
]
QUANTIZATIONS = kinds(QuantizationConfig)
