"""OFT: rotations of the inputs of frozen layers (Qiu et al. 2023, 2025), implemented by PEFT."""

from __future__ import annotations

import warnings
from typing import Any

from peft import OFTConfig as PeftOFT
from peft import PeftModel
from peft.tuners.oft.layer import OFTLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunery.adapters.injected import NAME, PREFIX, Injected
from tunery.adapters.selection import choose
from tunery.adapters.targets import kinds_of
from tunery.config.adapters.oft import OFTConfig
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.models.linear import LeftOut


class OFT(Injected[OFTConfig]):
    """The ``oft`` adapter: fp32 rotations, applied before frozen layers."""

    def settings(self, model: nn.Module, left: LeftOut) -> PeftOFT:
        """PEFT's settings for a new adapter."""
        config = self.config
        transposed = [name for name, m in model.named_modules() if isinstance(m, Conv1D)]
        if transposed:
            raise ConfigError(
                t("adapter.type=oft does not fit this model: PEFT cannot rotate the inputs of "
                  "{layers}, which store their weights transposed.", layers=kinds_of(transposed)),
                fix=t("Choose another adapter.type."),
                setting="adapter.type",
            )  # fmt: skip
        return PeftOFT(
            r=0,
            oft_block_size=config.block_size,
            block_share=config.block_share,
            use_cayley_neumann=config.use_cayley_neumann,
            num_cayley_neumann_terms=config.num_cayley_neumann_terms,
            coft=config.coft,
            eps=config.coft_eps,
            **choose(config, model, left).settings,
        )

    def inject(self, model: nn.Module, settings: Any) -> PeftModel:
        """Add the rotations; refuse a size of blocks that PEFT would change."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Invalid `oft_block_size`")  # refused below
            made = super().inject(model, settings)
        size = self.config.block_size
        for name, layer in made.named_modules():
            if isinstance(layer, OFTLayer) and layer.oft_block_size.get(NAME, size) != size:
                raise _does_not_divide(size, name.removeprefix(PREFIX), int(layer.in_features or 0))
        return made


def _does_not_divide(size: int, name: str, inputs: int) -> ConfigError:
    divisors = [each for each in range(2, inputs + 1) if inputs % each == 0]
    near = sorted(sorted(divisors, key=lambda each: abs(each - size))[:3])
    return ConfigError(
        t("adapter.block_size is {size}, which does not divide the {inputs} inputs of {layer}.",
          size=size, inputs=inputs, layer=name),
        fix=t("Sizes that do: {sizes}.", sizes=", ".join(map(str, near))),
        setting="adapter.block_size",
    )  # fmt: skip
