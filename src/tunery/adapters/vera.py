"""VeRA: trained vectors on random matrices that all layers share (Kopiczko et al. 2024)."""

from __future__ import annotations

from peft import VeraConfig as PeftVera
from torch import nn

from tunery.adapters.injected import Injected
from tunery.adapters.selection import choose
from tunery.config.adapters.vera import VeraConfig
from tunery.models.linear import LeftOut


class Vera(Injected[VeraConfig]):
    """The ``vera`` adapter. The random matrices are written too: no generator has to be equal."""

    def settings(self, model: nn.Module, left: LeftOut) -> PeftVera:
        """PEFT's settings for a new adapter; the class cannot exclude layers."""
        config = self.config
        return PeftVera(
            r=config.rank,
            vera_dropout=config.dropout,
            d_initial=config.initial_scale,
            projection_prng_key=config.projection_seed,
            save_projection=True,
            **choose(config, model, left, by_full_name=True).settings,
        )
